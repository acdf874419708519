"""Words that candidates are made of: what a file may say, what is crossed, varied and filled in."""

from collections import Counter
from pathlib import Path

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.levels.level import level_of
from fgl_flower.levels.vocabulary import Candidate, Vocabulary, vocabulary_of

FILE = """
template = "a {size} {colour} {animal} in the {place}, {style}"
first = ["animal", "colour"]

[words]
animal = ["cat", "dog"]
colour = ["black", "white", "brown"]
size = ["small", "large"]
place = ["garden", "house", "street"]
"""


def written(tmp_path: Path, text: str = FILE) -> str:
    path = tmp_path / "words.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture
def words(tmp_path: Path) -> Vocabulary:
    return Vocabulary.read(written(tmp_path)).with_domains(("photo", "sketch"))


def test_the_first_candidates_cross_the_first_groups_and_leave_the_others_open(words: Vocabulary) -> None:
    assert [name for name, _ in words.groups] == ["animal", "colour", "style", "size", "place"]
    found = words.candidates("pet", 64, seed=0)
    assert len(found) == len(set(found)) == 2 * 3
    assert found[0] == Candidate("pet", ("cat", "black", "", "", ""))
    assert all(candidate.words[2:] == ("", "", "") for candidate in found)


def test_too_many_are_chosen_by_the_seed_and_alike_for_every_class(words: Vocabulary) -> None:
    whole = words.candidates("pet", 6, seed=0)
    some = {seed: words.candidates("pet", 4, seed) for seed in range(5)}
    assert all(len(set(found)) == 4 and set(found) <= set(whole) for found in some.values())
    assert len({tuple(found) for found in some.values()}) > 1
    assert [one.words for one in words.candidates("stray", 4, seed=3)] == [one.words for one in some[3]]


def test_variants_take_each_word_of_one_group(words: Vocabulary) -> None:
    assert words.later == ("style", "size", "place")
    parent = Candidate("pet", ("cat", "black", "photo", "", ""))
    assert words.varied(parent, "size") == [
        Candidate("pet", ("cat", "black", "photo", "small", "")),
        Candidate("pet", ("cat", "black", "photo", "large", "")),
    ]


def test_open_words_are_taken_evenly_and_chosen_ones_always(words: Vocabulary) -> None:
    rows = words.texts(Candidate("pet", ("cat", "black", "", "small", "")), 12, seed=0)
    texts, styles = zip(*rows, strict=True)
    assert all(text.startswith("a small black cat in the ") for text in texts)
    assert Counter(styles) == {"photo": 6, "sketch": 6}
    assert Counter(text.split(" in the ")[1].split(",")[0] for text in texts) == {"garden": 4, "house": 4, "street": 4}
    assert all(text.endswith(f", {style}") for text, style in rows)


def test_the_same_candidate_has_the_same_prompts_whatever_class_asks(words: Vocabulary) -> None:
    chosen = ("dog", "", "", "", "")
    assert words.texts(Candidate("pet", chosen), 9, 1) == words.texts(Candidate("stray", chosen), 9, 1)
    assert words.texts(Candidate("pet", chosen), 9, 1) != words.texts(Candidate("pet", chosen), 9, 2)


def test_a_template_with_the_class_tells_classes_apart(tmp_path: Path) -> None:
    named = Vocabulary.read(
        written(tmp_path, 'template = "a {colour} {class}"\nfirst = ["colour"]\n[words]\ncolour = ["red"]\n')
    )
    assert named.named
    assert named.texts(Candidate("star", ("red",)), 1, 0) == [("a red star", "")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("template = ", "tmplate = "), "it must hold template"),
        (("{place}", "{spot}"), "may hold nothing but"),
        (("{place}", "{place:d}"), "may hold nothing but"),
        ((" in the {place}", ""), "does not hold {place}"),
        (('"animal", "colour"', '"animal", "shape"'), "first names 'shape'"),
        (('first = ["animal", "colour"]', "first = []"), "first must name"),
        (('["cat", "dog"]', '["cat", "cat"]'), "'animal' names a word twice"),
        (('["cat", "dog"]', "[1, 2]"), "'animal' must be a list of words"),
        (("template", "template = "), "is not valid TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Vocabulary.read(written(tmp_path, FILE.replace(*change)))


def test_what_a_run_lacks_is_told_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        vocabulary_of(str(tmp_path / "none.toml"), "miniature", ())
    with pytest.raises(ConfigError, match="set vocabulary to a file"):
        vocabulary_of("", "some/generator", ())
    with pytest.raises(ConfigError, match=r"the data set has no domains: give \[words\] a group 'style'"):
        vocabulary_of(written(tmp_path), "miniature", ())
    config = RunConfig(prompt_level="votes", vote_rounds=5)  # the miniature's words: style, size, background
    with pytest.raises(ConfigError, match="set vote-rounds to 4"):
        level_of("votes").check(config, ("a", "b"), ("photo",))
    with pytest.raises(ConfigError, match="no image-encoder '/nowhere'"):
        level_of("votes").check(RunConfig(prompt_level="votes", image_encoder="/nowhere"), ("a", "b"), ("photo",))
