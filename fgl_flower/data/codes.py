"""Product codes: ten classes whose names say nothing, each a shape in a colour, drawn as the built-in world is.

Labels outside benchmarks are often codes or jargon. A generator that reads "BX-12" learns nothing from it, so what a
client's images show has to come from the client: captions, embeddings or learned tokens.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from fgl_flower.data.world import SPLIT_SEEDS, Drawing, Split, draw

SHAPES = ("star", "heart", "moon", "arrow", "cross")
COLOURS = ("red", "blue")
_CODES = ("BX-12", "CT-47", "DK-90", "FV-33", "GZ-58", "HQ-71", "JW-26", "LN-64", "MR-85", "PS-19")
CODES: dict[str, tuple[str, str]] = dict(zip(_CODES, product(SHAPES, COLOURS), strict=True))  # code: shape, colour
STYLES = ("photo", "clipart", "painting", "infograph")  # those in which an object has its colour


def draw_split(split: Split, count: int, *, seed: int = 0) -> list[Drawing]:
    """Return `count` drawings of a split, balanced over codes and styles to within one image; their label is the code.

    The caption names shape and colour and never the code. Otherwise see `fgl_flower.data.world.draw_split`.
    """
    pairs = list(product(CODES, STYLES))
    order = np.random.default_rng([SPLIT_SEEDS[split], seed]).permutation(len(pairs))
    drawings = []
    for number in range(count):
        code, style = pairs[int(order[number % len(pairs)])]
        shape, colour = CODES[code]
        rng = np.random.default_rng([SPLIT_SEEDS[split], seed, number])
        drawings.append(replace(draw(shape, style, rng, colour=colour), label=code))
    return drawings
