"""Images that any classifier learns at once, and settings to learn them with."""

import numpy as np

from fgl_flower.learning.images import Images

SETTINGS = {"batch_size": 16, "lr": 0.05, "seed": 3, "device": "cpu"}


def halves(count: int, size: int = 16, classes: int = 2) -> Images:
    """Noise whose top (class 0) or bottom (class 1) half is bright: learnt at once, and blind to flips."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 60, (count, size, size, 3), dtype=np.uint8)
    for i, label in enumerate(labels):
        part = slice(0, size // 2) if label == 0 else slice(size // 2, size)
        pixels[i, part] += 180
    return Images.from_arrays(pixels, labels.tolist(), [0] * count)
