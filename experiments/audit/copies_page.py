"""The page on copies for the owner of the data: it shows private images, so it is no part of a run's report."""

import base64
import io
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from experiments.audit.copies import Compared
from experiments.audit.distances import Distances
from fgl_flower.files import write_text
from fgl_flower.report.drawing import COLOURS, SERIES, axes, svg, titled
from fgl_flower.report.parts import fill

__all__ = ["PAGE", "write_page"]

PAGE = "audit-copies.html"
_SHOWN = 24  # pairs
_BINS = 40
_TEMPLATE = """{% extends "base" %}
{% from "parts" import legend, pairs %}
{% block content %}
<header><h1>{{ title }}</h1>
<p class="note">{{ subtitle }}</p></header>
<div class="card warnings"><h3>For the owner of the data alone</h3>
<p class="last">This page shows private images. Do not put it beside the run's report, which others see.</p></div>

<h2>Nearest private and nearest held-out image</h2>
<p class="note">Held-out images are of the same classes, as many as private ones, and the run has never seen them. What
is drawn without knowledge of any single private image is as near to these as to those. Distance does not predict
membership risk (arXiv 2505.01524): this page stands beside fgl audit membership.</p>
<div class="two">{% for one in distances %}<div class="card plot"><h3>{{ one.name }}</h3>
{{ legend(series) }}{{ one.chart }}{{ pairs(one.rows) }}</div>{% endfor %}</div>

<h2>The most suspicious images</h2>
<p class="note">Ranked by how much nearer the nearest private image is than the nearest held-out one, both distances
together.</p>
<div class="card"><div class="scroll"><table class="top"><thead><tr><th>drawn</th>
{% for name in columns %}<th class="text">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in suspects %}<tr>
<td><figure><img src="{{ row.drawn }}" alt="{{ row.prompt }}" width="96" height="96">
<figcaption>{{ row.prompt }}</figcaption></figure></td>
{% for image in row.others %}<td class="text"><figure>
<img src="{{ image.src }}" alt="" width="96" height="96">
<figcaption>{{ image.text }}</figcaption></figure></td>{% endfor %}</tr>{% endfor %}</tbody></table></div></div>
{% endblock %}
"""


def write_page(found: Compared, name: str, folder: Path) -> Path:
    """Write the page of a run into a folder that is made for its owner alone, and return the file.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    drawn, private = (len(found.images[part]) for part in ("synthetic", "private"))
    compared = len(found.images["compared"])
    text = fill(
        _TEMPLATE,
        title=f"Copies of private images: {name}",
        subtitle=f"{drawn:,} images drawn · {private:,} private images, of which {compared:,} are compared with as "
        f"many held-out ones · embeddings by {found.encoder}",
        series=[{"series": 0, "name": "private"}, {"series": 1, "name": "held out"}],
        distances=[
            {"name": f"Distance: {one.name}", "chart": histogram(one), "rows": _figures(one)} for one in found.distances
        ],
        columns=[f"nearest {kind}, {one.name}" for one in found.distances for kind in ("private", "held out")],
        suspects=[_row(found, int(i)) for i in found.suspects[:_SHOWN]],
    )
    write_text(folder / PAGE, text)
    return folder / PAGE


def histogram(distances: Distances) -> Markup:
    """Return how often each distance occurs, to private and to held-out images, as an SVG."""
    both = np.concatenate([distances.private, distances.held_out])
    edges = np.linspace(0, max(float(both.max(initial=0)), 1e-6), _BINS + 1)
    with axes(220, left=60, right=26, top=12, bottom=52) as axis:
        axis.set_xlim(0, edges[-1])
        axis.set_xlabel(f"distance to the nearest image ({distances.name})")
        axis.grid(axis="y")
        for series, (name, values) in enumerate((("private", distances.private), ("held out", distances.held_out))):
            counts, _ = np.histogram(values, edges)
            colour = SERIES[series % COLOURS]
            axis.stairs(counts, edges, color=colour, linewidth=1.8, gid=titled(name))
        axis.set_ylim(bottom=0)
        return svg(axis, f"distances by {distances.name}")


def _figures(distances: Distances) -> list[tuple[str, str]]:
    share = distances.nearer()
    return [
        ("nearer to a private image", f"{share.value:.1%} (95 %: {share.low:.1%} to {share.high:.1%})"),
        ("by chance", f"50 % ({share.chance_low:.1%} to {share.chance_high:.1%} by shuffling)"),
        *(
            (
                f"{q:.0%} below" if q else "least",
                f"private {own:.3f}, held out {other:.3f}, ratio {ratio:.2f}",
            )
            for q, own, other, ratio in distances.quantiles()
        ),
    ]


def _row(found: Compared, i: int) -> dict[str, object]:
    others: list[dict[str, str]] = []
    for distances, private in zip(found.distances, found.nearest_private, strict=True):
        others += (
            _image(found.images["private"].small[private[i]], f"private image {private[i]}"),
            _image(found.images["held out"].small[distances.held_out_at[i]], f"at {distances.held_out[i]:.3f}"),
        )
    prompt = found.prompts[i] if found.prompts else ""
    return {"drawn": _image(found.images["synthetic"].small[i], "")["src"], "prompt": prompt, "others": others}


def _image(pixels: np.ndarray, text: str) -> dict[str, str]:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, format="PNG")
    return {"src": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}", "text": text}
