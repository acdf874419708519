"""How the report draws: matplotlib's figures as inline SVG in the page's own colours and letters."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.transforms import IdentityTransform

from fgl_flower.report.series import COLOURS, series_style

WIDTH = 480  # units of a drawing, which the style sheet's letters (12.5, on a phone 16.5) share; a card scales them
_VARIABLES = ("ink", "soft", "line", "card", *(f"s{n}" for n in range(COLOURS)))
# matplotlib knows no CSS variables: each is drawn in a colour of its own, for which `svg` puts the variable.
INK, SOFT, LINE, CARD, *SERIES = (f"#0000{n:02x}" for n in range(1, len(_VARIABLES) + 1))
_TITLE = "title:"
# All of matplotlib's defaults, for a user's own matplotlibrc must not change a report (nor ask for TeX).
_STYLE: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"} | {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "path.simplify": False,
    "font.size": 12.5,
    "axes.axisbelow": True,
    "axes.labelcolor": SOFT,
    "grid.color": LINE,
    "grid.linewidth": 1,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (("labelcolor", SOFT), ("major.size", 0))},
    # wide enough for a phone's larger letters
    "xtick.major.pad": 13,
    "ytick.major.pad": 8,
    "axes.labelpad": 10,
}


@contextmanager
def axes(height: float, left: float, right: float, top: float, bottom: float) -> Iterator[Axes]:
    """Yield empty axes with these margins in a drawing of `WIDTH` x `height`; draw and call `svg` within."""
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the letters that matplotlib's own font lacks
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, frameon=False)  # a point is a unit
        share = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        yield figure.add_axes(share, frameon=False)


def stroke(series: int) -> dict[str, Any]:
    """Return how the line of a series looks, as arguments of matplotlib."""
    return {"color": SERIES[series % COLOURS], "linestyle": series_style(series), "clip_on": False}


def titled(name: str) -> str:
    """Return the id of an artist that shows `name` under the pointer."""
    return _TITLE + str(escape(name))  # matplotlib escapes it again, but not every quote


def dot(axis: Axes, x: float, y: float, radius: float, series: int, name: str = "", **more: Any) -> None:
    """Draw a disc of `radius` units at a point of fixed axes; a ring where the series' colour is used again."""
    colour = SERIES[series % COLOURS]
    fill = colour if series < COLOURS else CARD
    looks = {"facecolor": fill, "edgecolor": colour, "linewidth": 1.6, "zorder": 3, **more}
    # No marker: matplotlib defines each under an id, and those of two drawings of a page may be the same.
    u, v = axis.transData.transform((x, y))
    circle = Circle((u, v), radius, transform=IdentityTransform(), clip_on=False, **looks)
    circle.set_gid(titled(name) if name else None)
    axis.add_artist(circle)


def svg(axis: Axes, label: str) -> Markup:
    """Return the drawing as an element of the page: no id, no font, nothing from elsewhere, the same for the same data.

    Parameters
    ----------
    axis : Axes
        From `axes`.
    label : str
        What the drawing shows, for those who cannot see it.
    """
    figure = axis.get_figure(root=True)
    assert figure is not None
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    drawn = re.sub(r"<[^<>]*>", _of_the_page, drawn[drawn.index('<g id="figure_1"') :])  # matplotlib escapes < and >
    _, _, width, height = figure.bbox.bounds
    return Markup(f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{drawn}')


def _of_the_page(found: re.Match[str]) -> str:
    """Return a tag of matplotlib's with the page's letters and colours, an id as a title or not at all."""
    tag = found[0]
    if tag.startswith("<g id="):
        title = re.fullmatch(rf'<g id="{_TITLE}(.*)">', tag, flags=re.DOTALL)
        return (
            f"<g><title>{title[1].replace('&amp;', '&')}</title>" if title else "<g/>" if tag.endswith("/>") else "<g>"
        )
    tag = re.sub(r'style="font[^"]*?(?=text-anchor|fill|opacity|")', 'style="', tag)
    return re.sub(r"#0000([0-9a-f]{2})", lambda colour: f"var(--{_VARIABLES[int(colour[1], 16) - 1]})", tag)
