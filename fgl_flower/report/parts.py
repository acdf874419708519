"""What the pages share as Jinja templates: the frame of the document and the macros of its pieces.

They are Python strings because Flower's app bundle drops .html and .j2 files. Everything shown is escaped (autoescape),
for prompts come from clients; nothing is loaded from elsewhere and no script may run (the content security policy says
so to the browser, too).
"""

from typing import Any

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from fgl_flower.report.drawing import swatch
from fgl_flower.report.formatting import human_bytes, human_seconds, percent, percent_interval, points_interval
from fgl_flower.report.style import CSS

BASE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body><main>
{% block content %}{% endblock %}
</main></body></html>
"""

PARTS = """
{% macro key(series, name) %}<span class="key">{{ series|swatch }}<span>{{ name }}</span></span>{% endmacro %}

{% macro legend(series) %}{% if series|length > 1 %}<div class="legend">{% for one in series %}
{{ key(one.series, one.name) }}{% endfor %}</div>
{% endif %}{% endmacro %}

{% macro bars(groups) %}<div class="bars">{% for group in groups %}
<div>{{ group.name }}</div><div class="row">{% for bar in group.bars %}
<div class="bar" style="--c:var(--s{{ bar.series % 8 }});--v:{{ bar.share }}">
<i{% if bar.series >= 8 %} class="again"{% endif %}></i><span>{{ bar.text }}</span></div>
{% endfor %}
</div>{% endfor %}</div>{% endmacro %}

{% macro heat(names, rows) %}<div class="scroll"><table class="heat">
<thead><tr><th></th>{% for name in names %}<th><div>{{ name }}</div></th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr><th>{{ row.name }}</th>
{% for cell in row.cells %}
<td{% if cell.best %} class="best"{% endif %} style="--v:{{ cell.share }}">{{ cell.text }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>{% endmacro %}

{% macro gallery(rows) %}<div class="card samples">
<div class="head">class</div><div class="head">drawn</div><div class="head">real</div>
{% for row in rows %}<div class="rule"></div><div class="class">{{ row.label }}</div>
<div class="images drawn">{% for image in row.drawn %}<figure>
<img src="{{ image.src }}" alt="{{ image.prompt }}" width="96" height="96">
<figcaption>{{ image.prompt }}{% if image.client %}<br>client {{ image.client }}{% endif %}</figcaption></figure>
{% endfor %}</div>
<div><div class="note only-phone">real</div><div class="images">{% for image in row.real %}<figure>
<img src="{{ image.src }}" alt="real {{ row.label }}" width="96" height="96"></figure>{% endfor %}</div></div>
{% endfor %}</div>{% endmacro %}

{% macro partition(plot, title) %}<div class="card plot"><h3>{{ title }}</h3>{{ plot.svg }}
{% if plot.hidden %}<p class="note">{{ plot.hidden }} further clients not shown.</p>{% endif %}</div>{% endmacro %}

{% macro lost(found, named) %}
{% for kind, title, last in (("failed", "Failed", "reason"), ("refused", "Quarantined", "reason"),
("skipped", "Unreadable images left out", "images")) if found[kind].rows %}
<div class="card"><h3>{{ title }}</h3><table class="top"><thead><tr>
<th>{{ "owner" if kind == "skipped" else "client" }}</th>
{% if kind == "failed" %}<th class="text">rounds</th>{% endif %}<th class="text">{{ last }}</th></tr></thead><tbody>
{% for row in found[kind].rows %}<tr><td>{{ row.who }}
{% if named %}<span class="under">{{ row.run }}</span>{% endif %}</td>
{% if kind == "failed" %}<td class="text rounds">{{ row.when }}</td>{% endif %}<td class="text">{{ row.what }}</td></tr>
{% endfor %}</tbody></table>
{% if found[kind].hidden %}<p class="note last">{{ found[kind].hidden }} further rows not shown.</p>{% endif %}</div>
{% endfor %}
{% if not found.failed.rows and not found.refused.rows %}<div class="card"><h3>Failed</h3>
<p class="note last">No client failed or was quarantined.</p></div>{% endif %}{% endmacro %}

{% macro pairs(rows) %}<table><tbody>
{% for name, value in rows %}<tr><td>{{ name }}</td><td class="text">{{ value }}</td></tr>{% endfor %}
</tbody></table>{% endmacro %}
"""


def fill(template: str, **values: Any) -> str:
    """Return a page as HTML: `template` extends "base" and imports its macros from "parts"."""
    environment = Environment(autoescape=True, trim_blocks=True, loader=DictLoader({"base": BASE, "parts": PARTS}))
    environment.filters.update(
        percent=percent,
        percent_interval=percent_interval,
        points_interval=points_interval,
        bytes=human_bytes,
        seconds=human_seconds,
        swatch=swatch,
    )
    return environment.from_string(template).render(css=Markup(CSS), **values)  # our own constant
