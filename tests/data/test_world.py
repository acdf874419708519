"""The built-in world: the same seed gives the same images, splits share nothing, captions tell the truth."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.data.world import (
    CLASSES,
    COLOURS,
    HELD_OUT_CLASSES,
    HELD_OUT_STYLE,
    STYLES,
    describe,
    draw,
    draw_split,
)


def test_a_split_is_the_same_every_time_and_its_images_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = draw_split("private", 30), draw_split("private", 70)
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.caption == other.caption
    rest = draw_split("private", 40, start=30)
    np.testing.assert_array_equal(rest[-1].image, many[-1].image)


def test_splits_share_no_image() -> None:
    seen = [d.image.tobytes() for s in ("public", "private", "validation", "test") for d in draw_split(s, 120)]
    assert len(set(seen)) == len(seen)


def test_another_seed_draws_another_world() -> None:
    first, second = draw_split("test", 60), draw_split("test", 60, seed=1)
    assert not any(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_classes_and_styles_are_balanced() -> None:
    drawings = draw_split("validation", 150)
    pairs = Counter((d.label, d.style) for d in drawings)
    assert len(pairs) == 60
    assert set(pairs.values()) == {2, 3}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*CLASSES, *HELD_OUT_CLASSES]),
    st.sampled_from([*STYLES, HELD_OUT_STYLE]),
    st.integers(0, 2**32 - 1),
)
def test_every_drawing_is_a_picture_with_the_caption_of_its_attributes(label: str, style: str, seed: int) -> None:
    drawing = draw(label, style, np.random.default_rng(seed))
    assert drawing.image.shape == (32, 32, 3)
    assert drawing.image.dtype == np.uint8
    assert drawing.image.std() > 1  # something is on it
    assert (drawing.label, drawing.style) == (label, style)
    assert drawing.caption == describe(label, style, drawing.colour, drawing.size, drawing.background, drawing.pose)


def test_the_colour_of_the_caption_is_the_colour_of_the_shape() -> None:
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), dtype=float)
    right = []
    for seed in range(60):
        drawing = draw("square", "infograph", np.random.default_rng(seed))
        if drawing.size != "large":
            continue
        middle = drawing.image[12:20, 12:20].reshape(-1, 3).astype(float)  # inside every large square
        nearest = np.linalg.norm(middle[:, None] - palette, axis=2).argmin(1)
        right.append(names[np.bincount(nearest).argmax()] == drawing.colour)
    assert len(right) > 10
    assert np.mean(right) > 0.9


def test_bigger_sizes_cover_more_of_the_picture() -> None:
    dark = {"small": [], "medium": [], "large": []}  # type: dict[str, list[float]]
    for seed in range(90):
        drawing = draw("circle", "quickdraw", np.random.default_rng(seed))
        dark[drawing.size].append(float((drawing.image.mean(2) < 128).mean()))
    assert np.mean(dark["small"]) < np.mean(dark["medium"]) < np.mean(dark["large"])


def test_the_public_split_never_shows_what_is_held_out() -> None:
    with pytest.raises(ValueError, match="held-out"):
        draw_split("public", 1, classes=[*CLASSES, "fish"])
    with pytest.raises(ValueError, match="held-out"):
        draw_split("public", 1, styles=[HELD_OUT_STYLE])
    drawings = draw_split("public", 120)
    words = set(" ".join(d.caption for d in drawings).split())
    assert not words & {*HELD_OUT_CLASSES, HELD_OUT_STYLE}


def test_held_out_classes_and_style_can_be_drawn_elsewhere() -> None:
    drawings = draw_split("private", 14, classes=HELD_OUT_CLASSES, styles=[*STYLES, HELD_OUT_STYLE])
    assert {d.label for d in drawings} == set(HELD_OUT_CLASSES)
    assert HELD_OUT_STYLE in {d.style for d in drawings}
