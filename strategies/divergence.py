"""When a training has diverged: what it ended with is worse than guessing."""

import math

MARGIN = 1.25  # a first epoch's mean may lie a little above guessing
HOPELESS = 20  # overfitting makes validation losses of a few times guessing, never of as many


def diverged(loss: float, classes: int, factor: float = MARGIN) -> bool:
    """Return whether a mean cross entropy in nats is not finite or above `factor` times that of guessing."""
    return not loss <= factor * math.log(classes)  # NaN compares as false


def sentence(what: str, loss: float, classes: int, key: str) -> str:
    """Return what to tell: `what` diverged, and `key` is what to lower."""
    return f"{what} diverged: its loss ended at {loss:.3g}, guessing has {math.log(classes):.2f}; lower {key}"
