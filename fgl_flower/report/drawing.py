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

WIDTH = 480  # units of a drawing, which the style sheet's letters (12.5, on a phone 16.5) share; a card scales them
COLOURS = 8
STYLES = ("solid", "dashed", "dotted")  # of lines, so named by CSS and by matplotlib
# matplotlib knows no CSS variables: each is drawn in a colour of its own, for which `svg` puts the variable.
_NAMES = ("ink", "soft", "line", "card", *(f"s{n}" for n in range(COLOURS)))
_VARIABLES = {f"#0000{n:02x}": f"var(--{name})" for n, name in enumerate(_NAMES, 1)}
INK, SOFT, LINE, CARD, *SERIES = _VARIABLES
_TITLE = "title:"
# All of matplotlib's defaults, for a user's own matplotlibrc must not change a report (nor ask for TeX).
_SETTINGS: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"} | {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "path.simplify": False,
    "font.size": 12.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in (("labelcolor", SOFT), ("major.size", 0))},
    "xtick.major.pad": 13,  # these three are wide enough for a phone's larger letters
    "ytick.major.pad": 8,
    "axes.labelpad": 10,
}


def swatch(series: int) -> Markup:
    """Return the sign of a series for a legend or a table: a short piece of its line."""
    return Markup(f'<i class="swatch" style="border-top:4px {line_style(series)} var(--s{series % COLOURS})"></i>')


def line_style(series: int) -> str:
    """Return the style of a series' line: the colours repeat after eight, each time with another dash."""
    return STYLES[series // COLOURS % len(STYLES)]


@contextmanager
def axes(height: float, left: float, right: float, top: float, bottom: float) -> Iterator[Axes]:
    """Yield empty axes with these margins in a drawing of `WIDTH` x `height`; draw and call `svg` within."""
    with warnings.catch_warnings(), matplotlib.rc_context(_SETTINGS):
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the letters that matplotlib's own font lacks
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, frameon=False)  # a point is a unit
        share = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        yield figure.add_axes(share, frameon=False)


def titled(name: str) -> str:
    """Return the id of an artist that shows `name` under the pointer."""
    return _TITLE + str(escape(name))  # matplotlib escapes it again, but not every quote


def dot(axis: Axes, x: float, y: float, radius: float, series: int, name: str, **more: Any) -> None:
    """Draw a disc of `radius` units at a point of fixed axes; a ring where the series' colour is used again."""
    colour = SERIES[series % COLOURS]
    looks = {"facecolor": colour if series < COLOURS else CARD, "edgecolor": colour, "linewidth": 1.6, "zorder": 3}
    u, v = axis.transData.transform((x, y))
    # No marker: matplotlib defines each under an id, and those of two drawings of a page may be the same.
    axis.add_artist(Circle((u, v), radius, transform=IdentityTransform(), gid=titled(name), **looks | more))


def svg(axis: Axes, label: str) -> Markup:
    """Return the drawing, with a label for those who cannot see it: no id, no font, the same for the same data."""
    assert isinstance(axis.figure, Figure)
    for artist in axis.findobj():
        artist.set_clip_on(False)  # nothing lies outside the axes, but dots on their border are whole
    text = io.StringIO()
    axis.figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = text.getvalue()
    drawn = re.sub(r"<[^<>]*>", _of_the_page, drawn[drawn.index('<g id="figure_1"') :])  # matplotlib escapes < and >
    size = f"0 0 {WIDTH} {axis.figure.bbox.height:g}"
    return Markup(f'<svg viewBox="{size}" role="img" aria-label="{escape(label)}">{drawn}')


def _of_the_page(match: re.Match[str]) -> str:
    """Return a tag of matplotlib's with the page's letters and colours, an id as a title or not at all."""
    tag = match[0]
    if tag.startswith("<g id="):
        title = re.fullmatch(rf'<g id="{_TITLE}(.*)">', tag, flags=re.DOTALL)
        shown = f"<title>{title[1].replace('&amp;', '&')}</title>" if title else ""
        return "<g/>" if tag.endswith("/>") else f"<g>{shown}"
    tag = re.sub(r'style="font[^"]*?(?=text-anchor|fill|opacity|")', 'style="', tag)
    return re.sub(r"#[0-9a-f]{6}", lambda colour: _VARIABLES[colour[0]], tag)
