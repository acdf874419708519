"""Product codes: each shows its shape and colour, and no word of a name is in the generator's vocabulary."""

from collections import Counter

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.data.codes import CODES, COLOURS, SHAPES, STYLES, draw_split
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import draw
from miniature.texts import WORDS


def test_a_code_is_a_shape_in_a_colour_and_the_caption_says_which() -> None:
    drawings = draw_split("private", 80)
    assert set(Counter((d.label, d.style) for d in drawings).values()) == {2}
    for drawing in drawings:
        shape, colour = CODES[drawing.label]
        assert f" {colour} {shape}" in drawing.caption
        assert drawing.label not in drawing.caption
    assert set(CODES.values()) == {(shape, colour) for shape in SHAPES for colour in COLOURS}


def test_the_colour_is_all_that_a_given_colour_changes() -> None:
    free = draw("star", "clipart", np.random.default_rng(3))
    same = draw("star", "clipart", np.random.default_rng(3), colour=free.colour)
    other = draw("star", "clipart", np.random.default_rng(3), colour="red" if free.colour != "red" else "blue")
    np.testing.assert_array_equal(free.image, same.image)
    assert (other.size, other.background, other.pose) == (free.size, free.background, free.pose)
    assert not np.array_equal(free.image, other.image)


def test_splits_share_no_image() -> None:
    seen = [d.image.tobytes() for split in ("private", "validation", "test") for d in draw_split(split, 80)]
    assert len(set(seen)) == len(seen)


def test_the_generator_knows_none_of_the_names() -> None:
    known = {word.lower() for word in WORDS}
    assert not any(part.lower() in known for code in CODES for part in (code, *code.split("-")))


def test_it_loads_by_name() -> None:
    source = load_source(RunConfig(dataset="world-codes", private_images=40, validation_images=40, test_images=40))
    assert source.classes == tuple(CODES)
    assert source.domains == STYLES
    assert len(source.private) == 40
