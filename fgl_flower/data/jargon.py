"""Trade jargon: six of ten class names are words that the generator knows with another meaning.

As 'crane', 'mouse' and 'drumstick' in ImageNet are words with two meanings. Here the trade calls a cross a "star": told
the name, a generator draws stars, well and with confidence, and no warning about unknown words can help. Only what the
clients' images show tells it what is meant.
"""

from dataclasses import replace

from fgl_flower.data.world import CLASSES, STYLES, Drawing, Split
from fgl_flower.data.world import draw_split as draw_world

__all__ = ["CLASSES", "MEANINGS", "STYLES", "draw_split"]

MEANINGS: dict[str, str] = {  # class: the shape that its images show
    **{name: name for name in CLASSES},
    **{"star": "cross", "cross": "arrow", "arrow": "star"},
    **{"heart": "drop", "drop": "moon", "moon": "heart"},
}
_NAMES = {shape: name for name, shape in MEANINGS.items()}


def draw_split(split: Split, count: int, *, seed: int = 0) -> list[Drawing]:
    """Return `count` drawings of a split of the built-in world, each labelled with the trade's word for its shape.

    The caption says what the image shows: "a clipart of a small red cross on a white background" is of class "star".
    Otherwise see `fgl_flower.data.world.draw_split`.
    """
    return [replace(drawing, label=_NAMES[drawing.label]) for drawing in draw_world(split, count, seed=seed)]
