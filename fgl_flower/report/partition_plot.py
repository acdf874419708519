"""Label counts by client, drawn from the counts that a run left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import EngFormatter, MaxNLocator

from fgl_flower.report.drawing import COLOURS, SERIES, WIDTH, axes, svg, titled

LEFT, RIGHT = 76, 12
SHADES = (1.0, 0.55, 0.3)  # opacities: the colours repeat after eight classes
NAMED = 20  # classes that a legend can tell apart


def partition_plot(counts: np.ndarray, classes: Sequence[str], *, clients: int = 60) -> Markup:
    """Return a stacked bar a client as SVG, over it a legend of the classes; empty where nobody has an image.

    Parameters
    ----------
    counts : np.ndarray
        (clients, classes) int.
    classes : sequence of str
    clients : int
        Show at most so many: more bars could not be told apart.
    """
    table = np.asarray(counts, dtype=np.int64)[:clients]
    if not table.sum():
        return Markup()
    looks = [(name, n % COLOURS, SHADES[n // COLOURS % len(SHADES)]) for n, name in enumerate(classes)]
    with axes(300, LEFT, RIGHT, top=12, bottom=52) as axis:
        axis.set_xlim(-0.5, len(table) - 0.5)
        axis.set_ylim(0, table.sum(1).max())
        axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_xlabel("client")
        axis.set_ylabel("private images", labelpad=16)
        look: Any = {"linewidth": 0.8 * (WIDTH - LEFT - RIGHT) / len(table), "solid_capstyle": "butt"}
        for (name, colour, shade), count, top in zip(looks, table.T, table.cumsum(1).T, strict=True):
            x = count.nonzero()[0]
            gap = np.full(len(x), np.nan)  # one line with gaps: thousands of bars would take a second
            xs, ys = (np.ravel(ends, order="F") for ends in ([x, x, gap], [top[x] - count[x], top[x], gap]))
            axis.plot(xs, ys, color=SERIES[colour], alpha=shade, gid=titled(name), **look)
        drawing = svg(axis, "private images by client and class")
    return (_legend(looks) if len(classes) <= NAMED else Markup()) + drawing


def _legend(looks: Sequence[tuple[str, int, float]]) -> Markup:
    keys = "".join(
        f'<span class="key"><i class="swatch" style="border-top:10px solid var(--s{colour});opacity:{shade}"></i>'
        f"<span>{escape(name)}</span></span>"
        for name, colour, shade in looks
    )
    return Markup(f'<div class="legend">{keys}</div>')
