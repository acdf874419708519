"""The shifted world: right names, a few kinds of image a class, the same ones in every split."""

from collections import Counter

import numpy as np
import pytest

from fgl_flower.config import RunConfig
from fgl_flower.data.shifted import CLASSES, KINDS, SHARES, draw_split
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import Drawing, Split, draw


def kind(drawing: Drawing) -> tuple[str, str, str, str]:
    """Return style, colour, size and background as the picture shows them."""
    return drawing.style, drawing.colour, drawing.size, drawing.background


def shown(label: str) -> set[tuple[str, str, str, str]]:
    """Return the kinds of a class, with the colours and backgrounds that some styles keep."""
    rng = np.random.default_rng(0)
    return {kind(draw(label, s, rng, colour=c, size=z, background=b)) for s, c, z, b in KINDS[label]}


@pytest.mark.parametrize("split", ["private", "validation", "test"])
def test_every_split_holds_the_kinds_of_its_class_and_no_other(split: Split) -> None:
    drawings = draw_split(split, 1000)
    assert set(Counter(d.label for d in drawings).values()) == {100}
    for label in CLASSES:
        assert {kind(d) for d in drawings if d.label == label} == shown(label)


def test_shares_are_a_long_tail() -> None:
    drawings = draw_split("private", 1500)
    most = [Counter(kind(d) for d in drawings if d.label == label).most_common(1)[0][1] / 150 for label in CLASSES]
    assert np.isclose(SHARES.sum(), 1)
    assert np.mean(most) == pytest.approx(SHARES[0], abs=0.05)


def test_splits_share_no_image_and_captions_are_true() -> None:
    drawings = [d for split in ("private", "validation", "test") for d in draw_split(split, 80)]
    assert len({d.image.tobytes() for d in drawings}) == len(drawings)
    for d in drawings:
        assert all(word in d.caption for word in (d.label, *kind(d)))


def test_it_loads_by_name() -> None:
    source = load_source(RunConfig(dataset="world-shifted", private_images=20, validation_images=20, test_images=20))
    assert source.classes == CLASSES
    assert len(source.private) == 20
