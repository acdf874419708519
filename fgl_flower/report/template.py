"""The page as a Jinja template. It is a Python string because Flower's app bundle drops .html and .j2 files.

Everything shown is escaped (autoescape), for prompts come from clients; nothing is loaded from elsewhere and no script
may run (the content security policy says so to the browser, too).
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<style>{{ css }}</style>
</head>
<body><main>
{% macro legend() %}{% if runs|length > 1 %}<div class="legend">{% for run in runs %}
<span><span class="dot" style="--c:var(--s{{ run.colour }})"></span>{{ run.name }}</span>{% endfor %}</div>
{% endif %}{% endmacro %}
{% macro bars(groups) %}<div class="bars">{% for group in groups %}
<div>{{ group.name }}</div><div class="row">{% for bar in group.bars %}
<div class="bar" style="--c:var(--s{{ bar.colour }});--v:{{ bar.share }}"><i></i><span>{{ bar.text }}</span></div>
{% endfor %}
</div>{% endfor %}</div>{% endmacro %}

<header>
<h1>{{ title }}</h1>
<p class="note">{{ subtitle }}</p>
</header>

{% if tiles %}<section class="tiles">{% for tile in tiles %}
<div class="card tile"><div class="value">{{ tile.value }}</div><div class="label">{{ tile.label }}</div></div>
{% endfor %}
</section>{% endif %}

{% for run in unfinished %}
<div class="card failed"><strong>{{ run.name }}</strong> {{ run.state }}{% if run.reason %}: {{ run.reason }}{% endif %}
</div>
{% endfor %}

{% if runs %}
<h2>Figures</h2>
<p class="note">Accuracy on the test split, on which nothing was selected. Bytes are those of the messages as
serialised.</p>
<div class="card scroll figures"><table>
<thead><tr><th>run</th><th>test accuracy</th><th>up per client</th><th>images drawn</th><th>rounds</th><th>time</th>
<th>validation</th><th>down per client</th><th>once per client</th><th>total bytes</th></tr></thead>
<tbody>{% for run in runs %}<tr{% if run.best %} class="best"{% endif %}>
<td><span class="dot" style="--c:var(--s{{ run.colour }})"></span>{{ run.name }}</td>
<td>{{ run.result.accuracy|percent }}</td><td>{{ run.result.bytes_up_per_client|bytes }}</td>
<td>{{ "{:,}".format(run.result.synthetic_images) }}</td><td>{{ run.result.rounds }}</td>
<td>{{ run.seconds|seconds }}</td>
<td>{{ run.result.validation_accuracy|percent }}</td><td>{{ run.result.bytes_down_per_client|bytes }}</td>
<td>{{ run.result.bytes_once_per_client|bytes }}</td><td>{{ run.result.bytes_total|bytes }}</td></tr>
{% endfor %}</tbody>
</table></div>

{% if runs|length > 1 %}<div class="two" style="margin-top:14px">
<div class="card"><h3>Test accuracy</h3>{{ bars(by_run) }}</div>
<div class="card"><h3>Bytes up per client <span class="note">(logarithmic)</span></h3>{{ bars(bytes_by_run) }}</div>
</div>{% endif %}

{% if by_domain or by_class %}
<h2>Where it is right</h2>
<div class="two">
{% if by_domain %}<div class="card"><h3>Test accuracy by style</h3>{{ legend() }}{{ bars(by_domain) }}</div>{% endif %}
{% if by_class %}<div class="card"><h3>Test accuracy by class</h3>{{ legend() }}{{ bars(by_class) }}</div>{% endif %}
</div>{% endif %}

{% if over_rounds %}
<h2>On the way</h2>
<p class="note">Solid: validation; dashed: test, drawn for the reader only. A single dot is a method without rounds.</p>
<div class="two">
<div class="card plot"><h3>Accuracy over rounds</h3>{{ legend() }}{{ over_rounds }}</div>
{% if over_bytes %}<div class="card plot"><h3>Accuracy over bytes</h3>{{ legend() }}{{ over_bytes }}</div>{% endif %}
</div>{% endif %}

{% for gallery in galleries %}
<h2>What the server drew{% if galleries|length > 1 %}: {{ gallery.name }}{% endif %}</h2>
<p class="note">Left: synthetic images over the prompts they were drawn from. Right: real images of the same class
from the validation split; private images are never shown.</p>
<div class="card samples"><div class="head">class</div><div class="head">drawn</div><div class="head">real</div>
{% for row in gallery.rows %}<div class="rule"></div><div class="class">{{ row.label }}</div>
<div class="images">{% for image in row.drawn %}<figure>
<img src="{{ image.src }}" alt="{{ image.prompt }}" width="96" height="96">
<figcaption>{{ image.prompt }}{% if image.client %}<br>client {{ image.client }}{% endif %}</figcaption></figure>
{% endfor %}</div>
<div><div class="note only-phone">real</div><div class="images">{% for image in row.real %}<figure>
<img src="{{ image.src }}" alt="real {{ row.label }}" width="96" height="96"></figure>{% endfor %}</div></div>
{% endfor %}</div>
{% endfor %}

<h2>Clients</h2>
<div class="two">
{% for plot in partitions %}<div class="card plot">
<h3>Private images by client and class{% if partitions|length > 1 %}: {{ plot.name }}{% endif %}</h3>{{ plot.svg }}
{% if plot.hidden %}<p class="note">{{ plot.hidden }} further clients not shown.</p>{% endif %}</div>{% endfor %}
<div class="stack">
<div class="card"><h3>Shut out</h3>{% if quarantined %}
<table><thead><tr><th>client</th><th class="text">reason</th></tr></thead><tbody>
{% for item in quarantined %}<tr><td class="name">{{ item.client }}
{% if runs|length > 1 %}<span class="note">{{ item.run }}</span>{% endif %}</td>
<td class="text">{{ item.reason }}</td></tr>
{% endfor %}</tbody></table>{% else %}<p class="note" style="margin:0">No client was quarantined.</p>{% endif %}</div>
</div></div>

{% if confusions %}
<h2>Confusion</h2>
<p class="note">Rows: true class; columns: predicted class; percent of the row, on the test split.</p>
<div class="two">{% for matrix in confusions %}<div class="card scroll"><h3>{{ matrix.name }}</h3>
<table class="confusion">
<thead><tr><th></th>{% for name in matrix.classes %}<th><div>{{ name }}</div></th>{% endfor %}</tr></thead>
<tbody>{% for row in matrix.rows %}<tr><th>{{ row.name }}</th>
{% for share in row.shares %}<td{% if share > 0.55 %} class="high"{% endif %} style="--v:{{ "%.2f"|format(share) }}">
{% if share >= 0.005 %}{{ (100 * share)|round|int }}{% endif %}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div>{% endfor %}</div>{% endif %}

<h2>Ledger</h2>
<div class="two">{% for run in runs %}<div class="card"><h3>{{ run.name }}</h3><table><tbody>
{% for name, value in run.ledger %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}
</tbody></table></div>{% endfor %}</div>
{% endif %}

<h2>How it was made</h2>
{% for run in all_runs %}<div class="card" style="margin-bottom:14px"><h3>{{ run.name }}</h3>
{% if run.command %}<pre>{{ run.command }}</pre>{% endif %}
<details><summary>Environment</summary><table><tbody>
{% for name, value in run.environment %}<tr><td>{{ name }}</td><td class="text">{{ value }}</td></tr>{% endfor %}
</tbody></table></details>
<details><summary>Configuration</summary><pre>{{ run.config }}</pre></details>
</div>{% endfor %}
</main></body></html>
"""
