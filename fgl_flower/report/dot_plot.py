"""Means with their intervals as SVG: a row each, a dot for the mean, a whisker for the interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fgl_flower.report.charts import WIDTH, dot, series_colour
from fgl_flower.report.intervals import Interval

ROW, TOP, RIGHT, BOTTOM = 32, 4, 68, 30
LETTER, NAME_LENGTH = 9.0, 22  # width of a letter on a phone, and letters of a name before it is cut


@dataclass(frozen=True)
class Dot:
    """A row of the plot: `values` are the shares of the single seeds, drawn faintly; no interval: an empty row."""

    name: str
    series: int
    values: tuple[float, ...]
    interval: Interval | None


def scale_of(dots: Sequence[Dot]) -> tuple[int, int, int]:
    """Return low, high and step in percent of an axis that holds what is drawn of at least one filled row."""
    ends = [end for row in dots if row.interval for end in (*_ends(row.interval), *row.values)]
    low, high = math.floor(min(ends) * 10) * 10, math.ceil(max(ends) * 10) * 10
    if high - low <= 50:
        low = min(low, max(0, high - 20))
        return low, max(high, low + 20), 10
    return low // 20 * 20, -(-high // 20) * 20, 20


def dot_plot(dots: Sequence[Dot], scale: tuple[int, int, int]) -> Markup:
    """Return the plot; `scale` (from `scale_of`) is shared by the plots that are read side by side.

    Parameters
    ----------
    dots : sequence of Dot
        In the order of the rows.
    scale : tuple
        Low, high and step of the axis in percent.
    """
    low, high, step = scale
    left = min(max((len(row.name) for row in dots), default=0), NAME_LENGTH) * LETTER + 16
    bottom = TOP + ROW * len(dots)

    def place(share: float) -> float:
        return left + (100 * share - low) / (high - low) * (WIDTH - left - RIGHT)

    parts = [f'<svg viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="img" aria-label="test accuracy with intervals">']
    for tick in range(low, high + 1, step):
        u, unit = place(tick / 100), " %" if tick == high else ""
        parts.append(f'<line x1="{u:.1f}" x2="{u:.1f}" y1="{TOP}" y2="{bottom}" stroke="var(--line)"/>')
        parts.append(f'<text x="{u:.1f}" y="{bottom + 22}" text-anchor="middle">{tick}{unit}</text>')
    for number, row in enumerate(dots):
        parts.append(_row(row, TOP + ROW * (number + 0.5), left, place))
    return Markup("".join([*parts, "</svg>"]))


def _row(row: Dot, v: float, left: float, place: Callable[[float], float]) -> str:
    short = row.name if len(row.name) <= NAME_LENGTH else row.name[: NAME_LENGTH - 1] + "…"
    parts = [f"<g><title>{escape(row.name)}</title>"]
    parts.append(f'<text x="{left - 14:.1f}" y="{v + 5:.1f}" text-anchor="end" class="name">{escape(short)}</text>')
    text = f"{100 * row.interval.mean:.1f}" if row.interval else "–"
    parts.append(f'<text x="{WIDTH}" y="{v + 5:.1f}" text-anchor="end" class="name">{text}</text>')
    colour = series_colour(row.series)
    if row.interval and math.isfinite(row.interval.half):
        a, b = map(place, _ends(row.interval))
        ends = f"M{a:.1f} {v:.1f}H{b:.1f}M{a:.1f} {v - 5:.1f}v10M{b:.1f} {v - 5:.1f}v10"
        parts.append(f'<path d="{ends}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    if row.interval:
        parts.append(f"{dot(place(row.interval.mean), v, 4.4, row.series)}/>")
    parts += [  # below the mean's line, where neither hides the other
        f'<circle cx="{place(value):.1f}" cy="{v + 9:.1f}" r="1.8" fill="{colour}" fill-opacity="0.55"/>'
        for value in row.values
    ]
    return "".join([*parts, "</g>"])


def _ends(interval: Interval) -> tuple[float, float]:
    half = interval.half if math.isfinite(interval.half) else 0.0
    return max(0.0, interval.mean - half), min(1.0, interval.mean + half)
