"""Curves as SVG, coloured by the page's own variables so that they follow light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 300
# Room for "100 %" and for half of "100 MB" in the larger letters that the style sheet gives a phone.
LEFT, RIGHT, TOP, BOTTOM = 60, 26, 12, 52
COLOURS = 8
DASHES = ("", "10 3 2 3", "2 3")


@dataclass(frozen=True)
class Curve:
    """A named line of points.

    Attributes
    ----------
    name : str
    series : int
        Number of the page's series: the colours repeat after eight, each time with another dash.
    points : tuple of (x, y)
    dashed : bool
        A second line of the same series.
    band : tuple of (x, low, high)
        A light area behind the line; empty: none.
    """

    name: str
    series: int
    points: tuple[tuple[float, float], ...]
    dashed: bool = False
    band: tuple[tuple[float, float, float], ...] = ()


def series_colour(series: int) -> str:
    """Return the CSS colour of a series."""
    return f"var(--s{series % COLOURS})"


def series_dash(series: int) -> str:
    """Return the SVG attribute of a series' dash, with a space before it; nothing for a solid line."""
    dash = DASHES[series // COLOURS % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def swatch(series: int) -> Markup:
    """Return the sign of a series for a legend or a table: a short piece of its line."""
    line = f'<line x1="1" x2="21" y1="5" y2="5" stroke="{series_colour(series)}" stroke-width="4"'
    return Markup(f'<svg class="swatch" viewBox="0 0 22 10" aria-hidden="true">{line}{series_dash(series)}/></svg>')


def dot(u: float, v: float, radius: float, series: int) -> str:
    """Return a dot without its closing tag: a disc, and a ring where the series' colour is used again."""
    colour = series_colour(series)
    fill = colour if series < COLOURS else "var(--card)"
    return f'<circle cx="{u:.1f}" cy="{v:.1f}" r="{radius:g}" fill="{fill}" stroke="{colour}" stroke-width="1.6"'


def line_chart(
    curves: Sequence[Curve],
    *,
    x_label: str,
    log_x: bool = False,
    x_text: Callable[[float], str] = lambda x: f"{x:g}",
) -> Markup:
    """Return shares in [0, 1] over x as an SVG.

    A curve of one point is drawn as a dot with a thin line to the right, so that others can be compared with it.

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
    curves = [_drawable(curve, log_x) for curve in curves]
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
        parts.append(f'<text x="{LEFT - 8}" y="{v + 5:.1f}" text-anchor="end">{100 * y:.0f} %</text>')
    for x in ticks:
        u, _ = place(x, 0)
        parts.append(f'<text x="{u:.1f}" y="{HEIGHT - BOTTOM + 21}" text-anchor="middle">{escape(x_text(x))}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    parts += [_band(curve, place) for curve in curves if len(curve.band) > 1]
    parts += [_line(curve, place) for curve in curves if curve.points]
    parts.append("</svg>")
    return Markup("".join(parts))


def _drawable(curve: Curve, log_x: bool) -> Curve:
    def known(row: tuple[float, ...]) -> bool:
        return all(map(math.isfinite, row)) and (row[0] > 0 or not log_x)

    return replace(
        curve,
        points=tuple(point for point in curve.points if known(point)),
        band=tuple(row for row in curve.band if known(row)),
    )


def _band(curve: Curve, place: Callable[[float, float], tuple[float, float]]) -> str:
    """Return the area between the lows, left to right, and the highs, back again."""
    corners = [place(x, low) for x, low, _ in curve.band] + [place(x, high) for x, _, high in reversed(curve.band)]
    path = " ".join(f"{u:.1f},{v:.1f}" for u, v in corners)
    return f'<polygon points="{path}" fill="{series_colour(curve.series)}" fill-opacity="0.14"/>'


def _line(curve: Curve, place: Callable[[float, float], tuple[float, float]]) -> str:
    spots = [place(x, y) for x, y in curve.points]
    (u, v), colour = spots[-1], series_colour(curve.series)
    dash = ' stroke-dasharray="5 4"' if curve.dashed else series_dash(curve.series)
    title = f"<title>{escape(curve.name)}</title>"
    if len(spots) == 1:
        level = f'<line x1="{u:.1f}" x2="{WIDTH - RIGHT}" y1="{v:.1f}" y2="{v:.1f}" stroke="{colour}"'
        return f'{level} stroke-dasharray="1.5 4"/>{dot(u, v, 4.2, curve.series)}>{title}</circle>'
    path = " ".join(f"{u:.1f},{v:.1f}" for u, v in spots)
    line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dash}>'
    return f"{line}{title}</polyline>{dot(u, v, 2.4, curve.series)}>{title}</circle>"


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
