"""The built-in world: ten shapes in six rendering styles, drawn by code from a seed.

Made after DomainNet (one class, many styles), 32x32 RGB, small enough for two cores. Every image has a true caption.
Two more classes and one more style exist that the public split never shows, for the study of data a generator has
never seen. Only NumPy and Pillow are needed, so that the recipe of the miniature models can run anywhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fgl_flower.data.shapes import CANVAS, RGB, SIZE, Points, cloud, outline, place, silhouette, tint, wobble

CLASSES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "moon", "arrow", "drop")
HELD_OUT_CLASSES = ("bolt", "fish")
STYLES = ("photo", "sketch", "quickdraw", "clipart", "painting", "infograph")
HELD_OUT_STYLE = "neon"

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 45, 45),
    "orange": (240, 140, 30),
    "yellow": (240, 215, 50),
    "green": (50, 160, 70),
    "blue": (45, 90, 205),
    "purple": (140, 60, 175),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (243, 243, 240),
    "black": (28, 28, 32),
    "grey": (138, 138, 140),
    "beige": (216, 196, 160),
    "pink": (238, 180, 200),
}
SIZES: dict[str, tuple[float, float]] = {
    "small": (6.0, 7.2),
    "medium": (8.8, 10.2),
    "large": (12.0, 13.6),
}  # radius, px
POSES: dict[str, tuple[float, float]] = {"upright": (-10, 10), "left": (18, 45), "right": (-45, -18)}  # degrees

Split = Literal["public", "private", "validation", "test"]
SPLIT_SEEDS: dict[str, int] = {"public": 11, "private": 23, "validation": 37, "test": 41}


@dataclass(frozen=True)
class Drawing:
    """One labelled image of the world.

    Attributes
    ----------
    image : numpy.ndarray
        (32, 32, 3) uint8 RGB.
    label, style : str
        Class and rendering style.
    caption : str
        A true sentence, e.g. "a clipart of a small red star on a white background".
    colour, size, background, pose : str
        What the caption says; sketch is always grey and quickdraw always black, on white.
    """

    image: NDArray[np.uint8]
    label: str
    style: str
    caption: str
    colour: str
    size: str
    background: str
    pose: str


Style = Callable[[list[Points], RGB, RGB, np.random.Generator], Image.Image]
"""(contours on the canvas, colour, background, rng) -> picture of the canvas' or the image's size."""


def _photo(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """Shaded object, soft shadow, uneven backdrop, blur and sensor noise."""
    mask = silhouette(contours)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS - 0.5
    light = rng.uniform(-1, 1, 2)
    fall = light[0] * x + light[1] * y
    backdrop = np.array(background)[None, None] * (1 + 0.35 * fall + 0.10 * cloud(5, rng))[..., None]
    shadow = Image.new("L", mask.size, 0)
    shadow.paste(mask, (int(8 * -light[0]) + 3, int(8 * -light[1]) + 5))
    backdrop *= 1 - 0.5 * np.asarray(shadow.filter(ImageFilter.GaussianBlur(5)), dtype=float)[..., None] / 255
    body = np.array(colour)[None, None] * (1 + 0.8 * fall + 0.14 * cloud(7, rng))[..., None]
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0))), dtype=float)[..., None] / 255
    image = (alpha * body + (1 - alpha) * backdrop) * rng.uniform(0.8, 1.15)
    small = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BOX)
    return Image.fromarray(np.clip(np.asarray(small) + rng.normal(0, 6, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8))


def _sketch(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """Grey pencil on paper: a few passes of the outline, often hatched."""
    paper = np.array(background)[None, None] + 6 * cloud(40, rng)[..., None]
    image = Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        hatching = Image.new("L", image.size, 0)
        strokes = ImageDraw.Draw(hatching)
        step, slant = int(rng.integers(14, 22)), rng.uniform(-1, 1) * CANVAS
        for x in range(-CANVAS, 2 * CANVAS, step):
            strokes.line([(x, 0), (x + slant, CANVAS)], fill=150, width=3)
        inside = Image.new("L", image.size, 0)
        inside.paste(hatching, mask=silhouette(contours))
        image.paste(tint(colour, 12, rng), mask=inside)
    for _ in range(int(rng.integers(2, 4))):
        for contour in contours:
            outline(pen, wobble(contour, 1.3, rng), tint(colour, 12, rng), int(rng.integers(3, 5)))
    return image


def _quickdraw(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """One shaky black stroke that need not close."""
    image = Image.new("RGB", (CANVAS, CANVAS), background)
    pen = ImageDraw.Draw(image)
    for contour in contours:
        stroke = np.roll(wobble(contour, 2.6, rng), int(rng.integers(200)), axis=0)
        ends = int(rng.integers(-3, 4))  # a gap at the end, or an overshoot
        stroke = np.concatenate([stroke, stroke[:ends]]) if ends >= 0 else stroke[:ends]
        outline(pen, stroke, colour, int(rng.integers(5, 8)), closed=False)
    return image


def _clipart(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """Flat saturated fill, dark outline, sometimes a gloss."""
    image = Image.new("RGB", (CANVAS, CANVAS), tint(background, 5, rng))
    mask = silhouette(contours)
    image.paste(tint(colour, 10, rng), mask=mask)
    if rng.random() < 0.5:
        gloss = Image.new("L", image.size, 0)
        x, y = contours[0].mean(axis=0)
        ImageDraw.Draw(gloss).ellipse([x - 40, y - 52, x + 12, y - 6], fill=90)
        inside = Image.new("L", image.size, 0)
        inside.paste(gloss, mask=mask)
        image.paste((255, 255, 255), mask=inside)
    edge = (90, 90, 95) if sum(background) < 200 else (20, 20, 25)
    pen = ImageDraw.Draw(image)
    for contour in contours:
        outline(pen, contour, edge, int(rng.integers(5, 9)))
    return image


def _painting(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """Short broad strokes of jittered colour; edges dissolve."""
    image = Image.new("RGB", (CANVAS, CANVAS), tint(background, 12, rng))
    pen = ImageDraw.Draw(image)
    flow = rng.uniform(0, math.pi)

    def stroke(x: float, y: float, paint: RGB, length: float, width: int) -> None:
        turn = flow + rng.normal(0, 0.5)
        dx, dy = length * math.cos(turn), length * math.sin(turn)
        pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=paint, width=width)

    for x, y in rng.uniform(0, CANVAS, (45, 2)):
        stroke(x, y, tint(background, 14, rng), 14, int(rng.integers(12, 20)))
    mask = silhouette(contours)
    image.paste(tint(colour, 18, rng), mask=mask)
    inside = np.argwhere(np.asarray(mask) > 0)
    for y, x in inside[rng.integers(0, len(inside), 25 + len(inside) // 90)]:
        stroke(x, y, tint(colour, 18, rng), rng.uniform(4, 9), int(rng.integers(7, 11)))
    for x, y in rng.uniform(0, CANVAS, (6, 2)):
        stroke(x, y, tint(background, 18, rng), 9, int(rng.integers(7, 11)))
    return image


def _infograph(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """A flat icon on a panel with a header, lines of text and a bar chart."""
    panel = tint(background, 5, rng)
    ink = tuple(int(c * 0.72) if sum(background) > 250 else min(255, c + 70) for c in panel)
    image = Image.new("RGB", (CANVAS, CANVAS), panel)
    pen = ImageDraw.Draw(image)
    accent = tint(list(COLOURS.values())[rng.integers(len(COLOURS))], 10, rng)
    pen.rectangle([0, 0, CANVAS, int(rng.integers(8, 15))], fill=accent)
    left = bool(rng.integers(2))
    for row in range(int(rng.integers(3, 6))):
        y, reach = 24 + 10 * row, int(rng.integers(20, 44))
        pen.rectangle([4, y, reach, y + 3] if left else [CANVAS - reach, y, CANVAS - 4, y + 3], fill=ink)
    for bar in range(int(rng.integers(3, 6))):
        x, top = 6 + 12 * bar, int(rng.integers(84, 118))
        x = CANVAS - x - 8 if left else x
        pen.rectangle([x, top, x + 7, CANVAS - 5], fill=accent if rng.random() < 0.5 else ink)
    image.paste(tint(colour, 8, rng), mask=silhouette(contours))
    return image


def _neon(contours: list[Points], colour: RGB, background: RGB, rng: np.random.Generator) -> Image.Image:
    """A glowing tube in the dark."""
    tube = Image.new("RGB", (CANVAS, CANVAS), (0, 0, 0))
    pen = ImageDraw.Draw(tube)
    for contour in contours:
        outline(pen, contour, colour, 8)
    glow = np.asarray(tube.filter(ImageFilter.GaussianBlur(8)), dtype=float) * 2.2 + np.asarray(tube) * 0.9
    core = Image.new("L", tube.size, 0)
    for contour in contours:
        path = [tuple(p) for p in contour]
        ImageDraw.Draw(core).line(path + path[:2], fill=170, width=3)
    image = np.array(tint(background, 4, rng))[None, None] + glow + np.asarray(core, dtype=float)[..., None]
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


_RENDER: dict[str, Style] = {
    "photo": _photo,
    "sketch": _sketch,
    "quickdraw": _quickdraw,
    "clipart": _clipart,
    "painting": _painting,
    "infograph": _infograph,
    HELD_OUT_STYLE: _neon,
}
_FIXED_COLOURS = {"sketch": ("grey", (82, 82, 86)), "quickdraw": ("black", (15, 15, 15))}
_FIXED_BACKGROUNDS = {"sketch": "white", "quickdraw": "white", HELD_OUT_STYLE: "black"}


def article(noun: str) -> str:
    """Return the noun with its article: "a star", "an arrow"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def describe(label: str, style: str, colour: str, size: str, background: str, pose: str) -> str:
    """Return the caption of a drawing with these attributes."""
    tilt = "" if pose == "upright" else f" tilted {pose}"
    return f"{article(style)} of a {size} {colour} {label}{tilt} on a {background} background"


def draw(
    label: str, style: str, rng: np.random.Generator, *, colour: str = "", size: str = "", background: str = ""
) -> Drawing:
    """Return one drawing of a class in a style; what is not given is drawn from `rng`.

    What is given does not move the rest: the same `rng` gives the same picture in another colour. Sketch and quickdraw
    keep their own colour and background, neon its background.

    Raises
    ------
    KeyError
        If anything that is given is not of this world.
    """

    def either(given: str, names: dict[str, Any]) -> str:
        drawn = str(rng.choice(list(names)))
        return given or drawn

    size = either(size, SIZES)
    pose = "upright" if label in {"circle", "ring"} else str(rng.choice(list(POSES)))  # a turned circle shows nothing
    background = _FIXED_BACKGROUNDS.get(style) or either(background, BACKGROUNDS)
    colour = either(colour, COLOURS)
    name, paint = _FIXED_COLOURS.get(style, (colour, COLOURS[colour]))
    contours = place(label, rng.uniform(*SIZES[size]), rng.uniform(*POSES[pose]), rng)
    image = _RENDER[style](contours, tint(paint, 9, rng), tint(BACKGROUNDS[background], 5, rng), rng)
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.uint8)
    caption = describe(label, style, name, size, background, pose)
    return Drawing(pixels, label, style, caption, name, size, background, pose)


def draw_split(
    split: Split,
    count: int,
    *,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    styles: Sequence[str] = STYLES,
    start: int = 0,
) -> list[Drawing]:
    """Return drawings `start` to `start + count` of a split, balanced over classes and styles to within one image.

    The same arguments always give the same images; splits never share a seed, and image i does not depend on `count`.

    Parameters
    ----------
    split : {"public", "private", "validation", "test"}
        The public split trains the miniature models and holds no held-out class or style.
    count : int
        Number of images, >= 0.
    seed : int
        A different seed gives a different world of the same kind.
    classes, styles : sequences of str
        What to draw, the held-out ones included.
    start : int
        Number of the first drawing: several processes may share a split.

    Raises
    ------
    ValueError
        If the public split is asked for a held-out class or style.
    """
    if split == "public" and (set(classes) - set(CLASSES) or set(styles) - set(STYLES)):
        raise ValueError("the public split holds no held-out class or style")
    pairs = [(c, s) for s in styles for c in classes]
    order = np.random.default_rng([SPLIT_SEEDS[split], seed]).permutation(len(pairs))
    return [
        draw(*pairs[int(order[i % len(pairs)])], np.random.default_rng([SPLIT_SEEDS[split], seed, i]))
        for i in range(start, start + count)
    ]
