"""Curves of accuracy over rounds or bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fgl_flower.report.drawing import COLOURS, SERIES, axes, dot, line_style, svg, titled
from fgl_flower.report.formatting import human_bytes


@dataclass(frozen=True)
class Curve:
    """A named line of points.

    Attributes
    ----------
    name : str
    series : int
        Number of the page's series.
    points : tuple of (x, y)
    band : tuple of (x, low, high)
        A light area behind the line; empty: none.
    """

    name: str
    series: int
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()


def line_chart(curves: Sequence[Curve], over: str) -> Markup:
    """Return shares in [0, 1] over rounds or bytes as an SVG; empty where there is no point.

    A curve of one point is drawn as a dot with a thin line to the right, so that others can be compared with it.

    Parameters
    ----------
    curves : sequence of Curve
        x at least 0; of bytes, points at x = 0 are left out.
    over : str
        'rounds', or 'bytes', which are spread by powers of ten.
    """
    curves = [_drawable(curve, over) for curve in curves]
    xs = [x for curve in curves for x, _ in curve.points]
    if not xs:
        return Markup()
    # Room for "100 %" and for half of "100 MB" in the larger letters that the style sheet gives a phone.
    with axes(300, left=60, right=26, top=12, bottom=52) as axis:
        axis.set_ylim(0, 1)
        axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axis.grid(axis="y")
        if over == "bytes":
            first, last = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
            axis.set_xscale("log")
            axis.set_xlim(10.0**first, 10.0 ** max(last, first + 1))
            axis.xaxis.set_major_locator(LogLocator(numticks=6))
            axis.xaxis.set_minor_locator(NullLocator())
            axis.xaxis.set_major_formatter(lambda count, _: human_bytes(count))
            axis.set_xlabel("bytes on the wire, all clients, both ways")
        else:
            axis.set_xlim(0, max(*xs, 1))
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axis.set_xlabel("rounds")
        for curve in curves:
            _draw(axis, curve)
        return svg(axis, f"accuracy over {over}")


def _drawable(curve: Curve, over: str) -> Curve:
    def known(row: tuple[float, ...]) -> bool:
        return all(map(math.isfinite, row)) and (row[0] > 0 or over != "bytes")

    return replace(curve, points=tuple(filter(known, curve.points)), band=tuple(filter(known, curve.band)))


def _draw(axis: Axes, curve: Curve) -> None:
    points, colour, title = curve.points, SERIES[curve.series % COLOURS], titled(curve.name)
    if len(curve.band) > 1:
        xs, lows, highs = zip(*curve.band, strict=True)  # along the lows, and back along the highs
        axis.fill(xs + xs[::-1], lows + highs[::-1], color=colour, alpha=0.14, linewidth=0, gid=title)
    if len(points) == 1:
        [(x, y)] = points
        axis.plot([x, axis.get_xlim()[1]], [y, y], color=colour, linestyle="dotted", linewidth=1, gid=title)
    elif points:
        axis.plot(*zip(*points, strict=True), color=colour, linestyle=line_style(curve.series), linewidth=2, gid=title)
    for x, y in points[-1:]:
        dot(axis, x, y, 4.2 if len(points) == 1 else 2.4, curve.series, curve.name)
