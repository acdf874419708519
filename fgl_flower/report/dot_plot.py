"""Means with their intervals: a row each, a dot for the mean, a whisker for the interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from fgl_flower.report.drawing import COLOURS, INK, SERIES, axes, dot, svg, titled
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
    names = [" ".join(row.name.split()) for row in dots]
    short = [name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…" for name in names]
    left = max(map(len, short), default=0) * LETTER + 16
    with axes(TOP + ROW * len(dots) + BOTTOM, left, RIGHT, TOP, BOTTOM) as axis:
        axis.set_xlim(low, high)
        axis.set_ylim(len(dots) - 0.5, -0.5)
        ticks = range(low, high + 1, step)
        axis.set_xticks(ticks, [f"{tick} %" if tick == high else str(tick) for tick in ticks])
        axis.set_yticks(range(len(dots)), short)
        axis.tick_params(axis="y", pad=14, labelcolor=INK)
        axis.grid(axis="x")
        for y, (label, name, row) in enumerate(zip(axis.get_yticklabels(), names, dots, strict=True)):
            label.set_gid(titled(name))
            text = f"{100 * row.interval.mean:.1f}" if row.interval else "–"
            axis.annotate(text, (1, y), xycoords=("figure fraction", "data"), ha="right", va="center_baseline")
            if row.interval:
                _draw(axis, y, row, row.interval)
        return svg(axis, "test accuracy with intervals")


def _draw(axis: Axes, y: float, row: Dot, interval: Interval) -> None:
    if math.isfinite(interval.half):
        a, b = (100 * end for end in _ends(interval))
        ys = [y - 5 / ROW, y + 5 / ROW, y]
        colour = SERIES[row.series % COLOURS]
        axis.plot([a, a, a, b, b, b], ys + ys[::-1], color=colour, linewidth=1.6, gid=titled(row.name))
    dot(axis, 100 * interval.mean, y, 4.4, row.series, row.name)
    for value in row.values:  # below the mean's line, where neither hides the other
        dot(axis, 100 * value, y + 9 / ROW, 1.8, row.series % COLOURS, row.name, linewidth=0, alpha=0.55)


def _ends(interval: Interval) -> tuple[float, float]:
    half = interval.half if math.isfinite(interval.half) else 0.0
    return max(0.0, interval.mean - half), min(1.0, interval.mean + half)
