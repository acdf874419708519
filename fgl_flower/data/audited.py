"""What a membership audit changes about the private images: who takes part, and which of them bear a wrong label."""

from typing import TYPE_CHECKING

import numpy as np

from fgl_flower.data.rows import column, with_columns

if TYPE_CHECKING:
    import datasets

__all__ = ["canaries", "members", "mislabelled"]

_SEED = 20_221_207  # of its own: neither follows a run's seed, so that all shadow runs have the same canaries


def members(count: int, half: int) -> np.ndarray:
    """Return which of so many images take part, (count,) bool.

    Odd numbers each draw a random half, the even number after one has the others: over both, every image takes part
    once, as in "Membership Inference Attacks From First Principles" (Carlini et al., 2022).

    Parameters
    ----------
    count : int
    half : int
        1 or more; 0: all.
    """
    if not half:
        return np.ones(count, dtype=bool)
    drawn = np.zeros(count, dtype=bool)
    pair = (half + 1) // 2
    drawn[np.random.default_rng([_SEED, pair]).permutation(count)[: count // 2]] = True
    return drawn if half % 2 else ~drawn


def canaries(labels: np.ndarray, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of `count` images, (count,) int64 in order, and a wrong label for each, likewise.

    A wrong label is hard to learn but by heart: such images stand for those that are most at risk (Aerni, Zhang and
    Tramer, 2024, "Evaluations of Machine Learning Privacy Defenses are Misleading").

    Parameters
    ----------
    labels : numpy.ndarray
        (n,) int64, the true ones.
    count : int
        At most n are taken.
    classes : int
        At least 2.
    """
    rng = np.random.default_rng([_SEED, 0])
    chosen = np.sort(rng.permutation(len(labels))[:count])
    return chosen, (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes


def mislabelled(private: "datasets.Dataset", count: int) -> "datasets.Dataset":
    """Return the images with `count` of the labels wrong, see `canaries`."""
    labels = column(private, "label")
    chosen, wrong = canaries(labels, count, private.features["label"].num_classes)
    labels = labels.copy()
    labels[chosen] = wrong
    return with_columns(private, {"label": labels}, private.features)
