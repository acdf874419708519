"""How the series of a page are told apart: eight colours of the style sheet, then the same ones with another line."""

from markupsafe import Markup

COLOURS = 8
STYLES = ("solid", "dashed", "dotted")  # so named by CSS and by matplotlib


def series_style(series: int) -> str:
    """Return the style of a series' line."""
    return STYLES[series // COLOURS % len(STYLES)]


def swatch(series: int) -> Markup:
    """Return the sign of a series for a legend or a table: a short piece of its line."""
    return Markup(f'<i class="swatch" style="border-top:4px {series_style(series)} var(--s{series % COLOURS})"></i>')
