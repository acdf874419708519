"""Shapes as a pen draws them: the contours of every class, where they lie on a canvas, and what paints them.

A shape is a list of closed contours, the outer one first, then holes; the world's styles (`fgl_flower.data.world`)
decide what the paint looks like.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 32  # pixels a side
_UP = 4  # drawn this many times larger, then averaged down
CANVAS = SIZE * _UP

Points = NDArray[np.float64]  # (n, 2), unit coordinates or canvas pixels, y downward
RGB = tuple[int, int, int]


def _arc(start: float, stop: float, n: int, radius: float = 1.0, centre: tuple[float, float] = (0, 0)) -> Points:
    angle = np.linspace(math.radians(start), math.radians(stop), n)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def _star() -> Points:
    angle = np.radians(np.arange(10) * 36 - 90)
    radius = np.where(np.arange(10) % 2 == 0, 1.05, 0.44)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _cross() -> Points:
    arm = np.array([(-0.3, -1), (0.3, -1), (0.3, -0.3)])
    turn = np.array([[0, 1], [-1, 0]])  # a quarter turn, applied to row vectors
    return np.concatenate([arm @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _heart() -> Points:
    t = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 17, (y - 2) / 17], axis=1) * 1.05


def _polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


CONTOURS: dict[str, list[Points]] = {
    "circle": [_arc(0, 360, 41)[:-1] * 0.92],
    "square": [_polygon((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8))],
    "triangle": [_polygon((0, -1), (0.95, 0.75), (-0.95, 0.75))],
    "star": [_star()],
    "cross": [_cross()],
    "heart": [_heart()],
    "ring": [_arc(0, 360, 41)[:-1], _arc(0, 360, 41)[:-1] * 0.52],
    "moon": [np.concatenate([_arc(60, 300, 30, 1.0, (0.2, 0)), _arc(285, 75, 20, 0.85, (0.62, 0))])],
    "arrow": [_polygon((0, -1.05), (0.85, -0.1), (0.33, -0.1), (0.33, 1), (-0.33, 1), (-0.33, -0.1), (-0.85, -0.1))],
    "drop": [np.concatenate([_polygon((0, -1.15)), _arc(-25, 205, 30, 0.68, (0, 0.38))])],
    "bolt": [
        _polygon((0.25, -1.1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1.1), (0.62, -0.25), (0.05, -0.25), (0.55, -1.1))
    ],
    "fish": [
        np.concatenate(
            [_arc(155, -155, 36) * (0.72, 0.5) + (0.25, 0), _polygon((-1.05, -0.55), (-0.85, 0), (-1.05, 0.55))]
        )
    ],
}


def place(label: str, radius: float, degrees: float, rng: np.random.Generator) -> list[Points]:
    """Return the contours of a class on the canvas (units: canvas pixels), turned, squeezed and shifted.

    Parameters
    ----------
    label : str
        A key of `CONTOURS`.
    radius : float
        In pixels of the image, not of the canvas.
    degrees : float
        By how much the shape is turned.
    rng : numpy.random.Generator
        Squeezes, shears and shifts.
    """
    angle = math.radians(degrees)
    squeeze, shear = rng.uniform(0.8, 1.25), rng.uniform(-0.18, 0.18)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    form = np.array([[math.sqrt(squeeze), 0], [shear, 1 / math.sqrt(squeeze)]])
    room = max(1.0, SIZE / 2 - radius)
    shift = rng.uniform(-room, room, 2) * 0.75 + SIZE / 2
    return [(c @ form @ turn * radius + shift) * _UP for c in CONTOURS[label]]


def wobble(contour: Points, amplitude: float, rng: np.random.Generator, per_edge: int = 5) -> Points:
    """Return the contour as a shaky hand draws it: densified, then moved by smooth noise (amplitude in canvas px)."""
    ahead = np.roll(contour, -1, axis=0)
    t = np.linspace(0, 1, per_edge, endpoint=False)[:, None]
    dense = (contour[:, None] * (1 - t) + ahead[:, None] * t).reshape(-1, 2)
    phase = np.linspace(0, 2 * math.pi, len(dense), endpoint=False)
    waves = sum(
        rng.normal(size=2) * np.sin(k * phase + rng.uniform(0, 6.3))[:, None] / math.sqrt(k) for k in range(1, 6)
    )
    return dense + amplitude * np.asarray(waves)


def silhouette(contours: list[Points]) -> Image.Image:
    """Return a mask of the canvas: 255 inside the outer contour, 0 outside and in the first hole."""
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    pen = ImageDraw.Draw(mask)
    for contour, value in zip(contours, (255, 0), strict=False):
        pen.polygon([tuple(p) for p in contour], fill=value)
    return mask


def tint(colour: RGB, spread: float, rng: np.random.Generator) -> RGB:
    """Return a colour near this one, each channel moved by normal noise of this deviation."""
    r, g, b = (int(np.clip(c + rng.normal(0, spread), 0, 255)) for c in colour)
    return r, g, b


def outline(pen: ImageDraw.ImageDraw, points: Points, colour: RGB, width: int, closed: bool = True) -> None:
    """Draw along these points (canvas pixels)."""
    path = [tuple(p) for p in points]
    pen.line(path + path[:2] if closed else path, fill=colour, width=width, joint="curve")


def cloud(cells: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise, (canvas, canvas), about -1..1."""
    coarse = Image.fromarray(rng.uniform(0, 255, (cells, cells)).astype(np.uint8))
    return np.asarray(coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), dtype=float) / 127.5 - 1
