"""Prompts that the generator cuts are told of, and two classes that become one are refused before anything is drawn."""

from pathlib import Path

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, RunError
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.truncation import truncation_of
from fgl_flower.preflight import preflight
from fgl_flower.records.reading import read_run
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.planning import notes_on, plan_for
from tests.whole_runs import served, small

FILLER = "red " * 30  # 30 words, the miniature reads 24 tokens


def test_what_is_cut_is_counted_and_an_equal_rest_of_two_classes_is_a_clash() -> None:
    tokenizer = tokenizer_of("miniature")
    pairs = [("a star", "star"), (f"a star {FILLER}", "star"), (f"a star {FILLER} moon", "star"), ("a moon", "moon")]
    found = truncation_of(pairs, tokenizer)
    assert (found.prompts, len(found.cut), found.clash) == (4, 2, None)
    sentence = found.sentence(tokenizer.length)
    assert sentence.startswith("2 of 4 prompts (50 %)")
    assert str(tokenizer.length) in sentence
    clash = truncation_of([(f"{FILLER} star", "star"), (f"{FILLER} moon", "moon")], tokenizer)
    assert clash.clash == (f"{FILLER} star", f"{FILLER} moon")
    assert "different classes" in clash.sentence(tokenizer.length)


def test_equal_prompts_that_are_not_cut_are_nobodys_business() -> None:
    found = truncation_of([("a thing", "star"), ("a thing", "moon")], tokenizer_of("miniature"))
    assert (found.cut, found.clash, found.sentence(24)) == ((), None, "")


def test_a_template_that_makes_two_classes_one_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    template = f"{FILLER}{{class}}"
    assert len(template) <= 200
    with pytest.raises(ConfigError, match="different classes"):
        preflight(small(tmp_path, "fgl", "miniature-fast", prompt_level="class", class_template=template))
    assert list(tmp_path.iterdir()) == []
    preflight(small(tmp_path, "fgl", "miniature-fast", prompt_level="class", class_template=f"{{class}} {FILLER}"))


def test_captions_that_make_two_classes_one_are_refused_before_drawing() -> None:
    config = RunConfig(prompt_level="instance")
    prompts = tuple(Prompt(f"{FILLER}{name}", name) for name in ("moon", "star"))
    with pytest.raises(RunError, match="different classes"):
        plan_for(config, ("moon", "star"), [PromptPayload(0, prompts, {"moon": 1, "star": 1})])


def test_captions_of_two_classes_that_read_the_same_are_left_out_where_others_stand_in() -> None:
    config = RunConfig(prompt_level="instance", images_per_class=4)
    mixed = [Prompt(f"{FILLER}{name}", name) for name in ("moon", "star")]
    others = [Prompt("a moon", "moon"), Prompt(f"a star {FILLER}", "star")]  # cut, but of no other class
    plan = plan_for(config, ("moon", "star"), [PromptPayload(0, tuple(sorted(mixed + others)))])
    assert {text for _, _, text, _ in plan.rows()} == {p.text for p in others}
    assert len(plan) == 8  # the whole budget goes to the others
    left_out, cut = notes_on(config, plan)
    assert left_out.startswith("2 prompts are left out: the generator reads")
    assert cut.startswith("1 of 2 prompts (50 %)")


def test_a_plan_tells_what_is_cut_and_so_does_the_run(tmp_path: Path) -> None:
    payload = PromptPayload(0, (Prompt("a moon", "moon"), Prompt(f"a star {FILLER}", "star")), {"moon": 1, "star": 1})
    (note,) = notes_on(RunConfig(), plan_for(RunConfig(), ("moon", "star"), [payload]))
    assert note.startswith("1 of 2 prompts (50 %)")
    config = small(
        tmp_path, "fgl", "miniature-fast", prompt_level="class", class_template=f"{{class}} {FILLER}", steps=1
    )
    result = read_run(served(config)).result
    assert result is not None
    assert [text for text in result.warnings if "are cut" in text]
