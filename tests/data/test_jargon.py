"""Trade jargon: names that the generator knows with another meaning, and captions that say what is shown."""

from collections import Counter

from fgl_flower.config import RunConfig
from fgl_flower.data.jargon import CLASSES, MEANINGS, draw_split
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import draw_split as draw_world
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.vocabulary import unknown_names


def test_six_of_ten_names_mean_another_shape_and_no_two_the_same() -> None:
    assert set(MEANINGS) == set(MEANINGS.values()) == set(CLASSES)
    assert sum(name != shape for name, shape in MEANINGS.items()) == 6


def test_the_images_are_the_worlds_and_captions_name_the_shape() -> None:
    for drawing, same in zip(draw_split("private", 60), draw_world("private", 60), strict=True):
        assert (drawing.image == same.image).all()
        assert MEANINGS[drawing.label] == same.label
        assert f" {same.label}" in drawing.caption
    assert set(Counter(d.label for d in draw_split("test", 60)).values()) == {6}


def test_no_warning_about_words_can_help() -> None:
    assert not unknown_names(CLASSES, tokenizer_of("miniature"))


def test_it_loads_by_name() -> None:
    source = load_source(RunConfig(dataset="world-jargon", private_images=20, validation_images=20, test_images=20))
    assert source.classes == CLASSES
    for label, caption in zip(source.private["label"], source.private["caption"], strict=True):
        assert f" {MEANINGS[source.classes[label]]}" in caption
