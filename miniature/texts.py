"""The words of the built-in world, and the many ways a prompt may name one of its images."""

import numpy as np

from fgl_flower.data.world import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    HELD_OUT_CLASSES,
    HELD_OUT_STYLE,
    POSES,
    SIZES,
    STYLES,
    Drawing,
    article,
    describe,
)

MAX_TOKENS = 24  # of the text encoder, start and end marks included
VARIANTS = 8  # prompts kept for each training image

_OTHER_WORDS = (  # noqa: SIM905 (a sentence reads better than a list)
    "a an the of on in and with tilted background real world images image picture drawing high low resolution "
    "quality colorful black grey style class art one two"
).split()
# The held-out words are in the vocabulary but in no training prompt: the generator can read them, and knows nothing.
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [*CLASSES, *HELD_OUT_CLASSES, *STYLES, HELD_OUT_STYLE, *COLOURS, *BACKGROUNDS, *SIZES, *POSES, *_OTHER_WORDS]
    )
)


def prompts(drawing: Drawing, rng: np.random.Generator) -> list[str]:
    """Return `VARIANTS` true prompts for a drawing: bare class, class and style, some attributes, the full caption."""
    label, style = drawing.label, drawing.style
    tilt = "" if drawing.pose == "upright" else f"tilted {drawing.pose}"

    def some() -> str:
        keep = rng.random(4) < 0.6
        noun = " ".join(w for w, k in ((drawing.size, keep[0]), (drawing.colour, keep[1]), (label, True)) if k)
        tail = [tilt if keep[2] else "", f"on a {drawing.background} background" if keep[3] else ""]
        return " ".join(part for part in (article(noun), *tail) if part)

    plain = describe(label, style, drawing.colour, drawing.size, drawing.background, drawing.pose)
    real = f"{label}, real world images, high resolution" if style == "photo" else f"{label}, {style}"
    return [
        plain,
        f"a {style} of a {label}",
        f"{article(style)} of {article(label)}",
        f"{article(style)} of {some()}",
        f"{label}, {plain}, {style}",
        f"{label}, {some()}, {style}",
        real,
        label,
    ]
