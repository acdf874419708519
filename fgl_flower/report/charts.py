"""Curves of accuracy over rounds or bytes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fgl_flower.report.drawing import axes, dot, stroke, svg, titled


@dataclass(frozen=True)
class Curve:
    """A named line of points.

    Attributes
    ----------
    name : str
    series : int
        Number of the page's series: the colours repeat after eight, each time with another dash.
    points : tuple of (x, y)
    band : tuple of (x, low, high)
        A light area behind the line; empty: none.
    """

    name: str
    series: int
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()


def line_chart(
    curves: Sequence[Curve],
    *,
    x_label: str,
    log_x: bool = False,
    x_text: Callable[[float], str] = lambda x: f"{x:g}",
) -> Markup:
    """Return shares in [0, 1] over x as an SVG; empty where there is no point.

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
    # Room for "100 %" and for half of "100 MB" in the larger letters that the style sheet gives a phone.
    with axes(300, left=60, right=26, top=12, bottom=52) as axis:
        _scale(axis, min(xs), max(xs), log_x)
        axis.xaxis.set_major_formatter(lambda x, _: x_text(x))
        axis.set_xlabel(x_label)
        axis.grid(axis="y", clip_on=False)
        for curve in curves:
            _draw(axis, curve)
        return svg(axis, f"accuracy over {x_label}")


def _drawable(curve: Curve, log_x: bool) -> Curve:
    def known(row: tuple[float, ...]) -> bool:
        return all(map(math.isfinite, row)) and (row[0] > 0 or not log_x)

    return replace(
        curve,
        points=tuple(point for point in curve.points if known(point)),
        band=tuple(row for row in curve.band if known(row)),
    )


def _scale(axis: Axes, low: float, high: float, log_x: bool) -> None:
    shares = [n / 5 for n in range(6)]
    axis.set_ylim(0, 1)
    axis.set_yticks(shares, [f"{100 * share:.0f} %" for share in shares])
    if not log_x:
        axis.set_xlim(0, max(high, 1))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return
    first = math.floor(math.log10(low))
    axis.set_xscale("log")
    axis.set_xlim(10.0**first, 10.0 ** max(math.ceil(math.log10(high)), first + 1))
    axis.xaxis.set_major_locator(LogLocator(numticks=6))
    axis.xaxis.set_minor_locator(NullLocator())


def _draw(axis: Axes, curve: Curve) -> None:
    if not curve.points:
        return
    look, title = stroke(curve.series), titled(curve.name)
    if len(curve.band) > 1:
        xs, lows, highs = zip(*curve.band, strict=True)  # along the lows, and back along the highs
        axis.fill(
            xs + xs[::-1], lows + highs[::-1], color=look["color"], alpha=0.14, linewidth=0, clip_on=False, gid=title
        )
    if len(curve.points) > 1:
        axis.plot(*zip(*curve.points, strict=True), **look, linewidth=2, gid=title)
        dot(axis, *curve.points[-1], 2.4, curve.series, curve.name)
        return
    [(x, y)] = curve.points
    axis.plot([x, axis.get_xlim()[1]], [y, y], **look | {"linestyle": "dotted"}, linewidth=1, gid=title)
    dot(axis, x, y, 4.2, curve.series, curve.name)
