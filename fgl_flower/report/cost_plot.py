"""Accuracy against what it costs: a point a method, at the bytes that a client sends up, with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import NullLocator

from fgl_flower.report.drawing import COLOURS, SERIES, axes, dot, svg, titled
from fgl_flower.report.formatting import human_bytes
from fgl_flower.report.intervals import Interval

_MOST_TICKS = 6


@dataclass(frozen=True)
class Cost:
    """A point of the plot.

    Attributes
    ----------
    name : str
    series : int
        Number of the page's series.
    bytes_up : float
        Bytes that a client sends up over the whole run; 0: it sends nothing, the point stands at the left edge.
    interval : Interval
        Of the test accuracy, a share.
    """

    name: str
    series: int
    bytes_up: float
    interval: Interval


def cost_plot(costs: Sequence[Cost]) -> Markup:
    """Return the plot, bytes by powers of ten; empty without a point that sends anything."""
    sent = [cost.bytes_up for cost in costs if cost.bytes_up > 0]
    if not sent:
        return Markup()
    first, last = math.floor(math.log10(min(sent))), math.ceil(math.log10(max(sent)))
    nothing = any(cost.bytes_up <= 0 for cost in costs)
    left = first - 1 if nothing else first  # where those stand that send nothing
    with axes(300, left=60, right=26, top=12, bottom=52) as axis:
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axis.grid(axis="y")
        axis.set_xscale("log")
        axis.set_xlim(10.0**left, 10.0 ** max(last, first + 1))
        step = max(1, -(-(max(last, first + 1) - first) // (_MOST_TICKS - 1)))
        ticks = [10.0**power for power in range(first, max(last, first + 1) + 1, step)]
        labels = [human_bytes(tick) for tick in ticks]
        axis.set_xticks([10.0**left] * nothing + ticks, ["0 B"] * nothing + labels)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("bytes that a client sends up, in all")
        for cost in costs:
            x, mean, half = cost.bytes_up or 10.0**left, cost.interval.mean, cost.interval.half
            if math.isfinite(half):
                ends = [max(0.0, mean - half), min(1.0, mean + half)]
                colour = SERIES[cost.series % COLOURS]
                axis.plot([x, x], ends, color=colour, linewidth=1.6, gid=titled(cost.name))
            dot(axis, x, mean, 4.4, cost.series, cost.name)
        return svg(axis, "accuracy against bytes up per client")
