"""The built-in world seen through a keyhole: right names, but of each class only a few kinds of image exist.

A kind is a style, a colour, a size and a background. Each class has eight, drawn once from a fixed seed, the first the
most frequent and the last the rarest. A generator told the class or its style spreads its images over all the kinds
that it knows, most of which no client has ever seen; captions say which ones there are.
"""

import numpy as np

from fgl_flower.data.world import BACKGROUNDS, CLASSES, COLOURS, SIZES, SPLIT_SEEDS, STYLES, Drawing, Split, draw

__all__ = ["CLASSES", "KINDS", "SHARES", "STYLES", "draw_split"]

_SEED = 53
_KINDS = 8  # of a class
SHARES = np.array([1 / (k + 1) for k in range(_KINDS)]) / sum(1 / (k + 1) for k in range(_KINDS))
"""Share of each kind of a class, the most frequent first: a long tail (Zipf)."""


def _kinds(number: int) -> list[tuple[str, str, str, str]]:
    rng = np.random.default_rng([_SEED, number])
    columns = [rng.choice(list(values), _KINDS) for values in (STYLES, COLOURS, SIZES, BACKGROUNDS)]
    return [
        (str(style), str(colour), str(size), str(ground)) for style, colour, size, ground in zip(*columns, strict=True)
    ]


KINDS: dict[str, list[tuple[str, str, str, str]]] = {name: _kinds(i) for i, name in enumerate(CLASSES)}
"""Style, colour, size and background by class; sketch and quickdraw have a colour and a background of their own."""


def draw_split(split: Split, count: int, *, seed: int = 0) -> list[Drawing]:
    """Return `count` drawings of a split, balanced over classes to within one image, by `SHARES` over their kinds.

    Otherwise see `fgl_flower.data.world.draw_split`.
    """
    order = np.random.default_rng([SPLIT_SEEDS[split], seed]).permutation(len(CLASSES))
    drawings = []
    for number in range(count):
        label = CLASSES[int(order[number % len(CLASSES)])]
        rng = np.random.default_rng([SPLIT_SEEDS[split], seed, number])
        style, colour, size, background = KINDS[label][int(rng.choice(_KINDS, p=SHARES))]
        drawings.append(draw(label, style, rng, colour=colour, size=size, background=background))
    return drawings
