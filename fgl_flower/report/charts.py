"""Curves as SVG, coloured by the page's own variables so that they follow light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 40


@dataclass(frozen=True)
class Curve:
    """A named line of (x, y) points; `colour` is a number of the page's series colours (0 to 7)."""

    name: str
    colour: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


def line_chart(
    curves: Sequence[Curve],
    *,
    x_label: str,
    log_x: bool = False,
    x_text: Callable[[float], str] = lambda x: f"{x:g}",
) -> Markup:
    """Return shares in [0, 1] over x as an SVG; a curve of one point is drawn as a dot.

    Parameters
    ----------
    curves : sequence of Curve
        x at least 0; with `log_x`, points at x <= 0 are left out.
    x_label : str
        What the x axis shows.
    log_x : bool
        Spread x by powers of ten.
    x_text : callable
        Writes a tick of the x axis.
    """
    curves = [
        Curve(c.name, c.colour, tuple(p for p in c.points if math.isfinite(p[1]) and (p[0] > 0 or not log_x)), c.dashed)
        for c in curves
    ]
    xs = [x for curve in curves for x, _ in curve.points]
    if not xs:
        return Markup()
    ticks = _log_ticks(min(xs), max(xs)) if log_x else _ticks(0, max(xs))
    scale = math.log10 if log_x else float
    low, high = scale(min(min(xs), ticks[0])), scale(max(max(xs), ticks[-1]))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (scale(x) - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT), TOP + (1 - y) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy over {escape(x_label)}">']
    for y in (0, 0.2, 0.4, 0.6, 0.8, 1):
        _, v = place(xs[0], y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{v + 4:.1f}" text-anchor="end">{100 * y:.0f} %</text>')
    for x in ticks:
        u, _ = place(x, 0)
        parts.append(f'<text x="{u:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(x_text(x))}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    for curve in curves:
        spots = [place(x, y) for x, y in curve.points]
        colour = f"var(--s{curve.colour % 8})"
        dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
        path = " ".join(f"{u:.1f},{v:.1f}" for u, v in spots)
        title = f"<title>{escape(curve.name)}</title>"
        if len(spots) > 1:
            line = f'fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round"{dash}'
            parts.append(f'<polyline points="{path}" {line}>{title}</polyline>')
        if spots:
            (u, v), radius = spots[-1], 4.5 if len(spots) == 1 else 3
            parts.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="{radius}" fill="{colour}">{title}</circle>')
    parts.append("</svg>")
    return Markup("".join(parts))


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers from `low` to at least `high`."""
    span = max(high - low, 1)
    rough = span / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = max(1, next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough))
    return [low + step * n for n in range(math.ceil(span / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that hold `low` and `high`, every second one where they are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = 1 if last - first <= 6 else 2
    return [10.0**n for n in range(first, last + step, step)]
