"""The page of run folders as a Jinja template; its frame and macros stand in `parts`."""

PAGE = """{% extends "base" %}
{% from "parts" import key, legend, bars, heat, gallery, partition, lost, pairs %}
{% block content %}
<header>
<h1>{{ title }}</h1>
<p class="note">{{ subtitle }}</p>
</header>

{% if warnings %}<div class="card warnings"><h3>Warnings</h3><ul>
{% for name, sentences in warnings %}{% for sentence in sentences %}
<li>{% if warnings|length > 1 %}<strong>{{ name }}</strong> {% endif %}{{ sentence }}</li>{% endfor %}{% endfor %}
</ul></div>{% endif %}

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
<div class="card"><div class="scroll figures dense"><table>
<thead><tr><th>run</th><th>test accuracy</th><th>up per client</th><th>images drawn</th><th>rounds</th><th>time</th>
<th>validation</th><th>down per client</th><th>once per client</th><th>total bytes</th></tr></thead>
<tbody>{% for run in runs %}<tr{% if run.best %} class="best"{% endif %}>
<td>{{ key(run.series, run.name) }}</td>
<td>{{ run.result.accuracy|percent }}</td><td>{{ run.result.bytes_up_per_client|bytes }}</td>
<td>{{ "{:,}".format(run.result.synthetic_images) }}</td><td>{{ run.result.rounds }}</td>
<td>{{ run.seconds|seconds }}</td>
<td>{{ run.result.validation_accuracy|percent }}</td><td>{{ run.result.bytes_down_per_client|bytes }}</td>
<td>{{ run.result.bytes_once_per_client|bytes }}</td><td>{{ run.result.bytes_total|bytes }}</td></tr>
{% endfor %}</tbody>
</table></div></div>

{% for name, text in notes %}<p class="note">
{% if runs|length > 1 %}<strong>{{ name }}</strong> {% endif %}{{ text }}</p>{% endfor %}
{% if runs|length > 1 %}<div class="two" style="margin-top:14px">
<div class="card"><h3>Test accuracy</h3>{{ bars(by_run) }}</div>
<div class="card"><h3>Bytes up per client <span class="note">(logarithmic)</span></h3>{{ bars(bytes_by_run) }}</div>
</div>{% endif %}

{% if by_domain or by_class %}
<h2>Where it is right</h2>
<div class="two">
{% for part, groups in (("style", by_domain), ("class", by_class)) if groups %}
<div class="card"><h3>Test accuracy by {{ part }}</h3>{{ legend(runs) }}{{ bars(groups) }}</div>{% endfor %}
</div>{% endif %}

{% if transfer %}
<h2>How synthetic images transfer</h2>
<p class="note">The clients' own images that the model trained on synthetic images alone gets right, as the clients say.
No image of theirs was sent. Of a class far below the others the generator draws something else than they have.</p>
<div class="card"><h3>Clients' images that are right, by class</h3>{{ legend(runs) }}{{ bars(transfer) }}
{% for name, text in levels %}<p class="note last">
{% if runs|length > 1 %}<strong>{{ name }}</strong> {% endif %}{{ text }}</p>{% endfor %}</div>
{% endif %}

{% if over_rounds %}
<h2>On the way</h2>
<p class="note">Accuracy on the validation split. A dot with a dotted line is a method without rounds.</p>
<div class="two">
{% for over, chart in (("rounds", over_rounds), ("bytes", over_bytes)) if chart %}
<div class="card plot"><h3>Accuracy over {{ over }}</h3>{{ legend(runs) }}{{ chart }}</div>{% endfor %}
</div>{% endif %}

{% for drawn in galleries %}
<h2>What the server drew{% if galleries|length > 1 %}: {{ drawn.name }}{% endif %}</h2>
<p class="note">Left: synthetic images over the prompts they were drawn from. Right: real images of the same class
from the validation split; private images are never shown.</p>
{{ gallery(drawn.rows) }}
{% endfor %}

{% endif %}

{% if runs or clients.failed.rows or clients.refused.rows %}
<h2>Clients</h2>
<div class="two">
{% set lie = "Private images by client and class" %}
{% for plot in partitions %}
{{ partition(plot, lie ~ ": " ~ plot.names|join(", ") if partitions|length > 1 else lie) }}{% endfor %}
{{ lost(clients, all_runs|length > 1) }}
</div>
{% endif %}

{% if runs %}
{% if confusions %}
<h2>Confusion</h2>
<p class="note">Rows: true class; columns: predicted class; percent of the row, on the test split.</p>
<div class="two">{% for matrix in confusions %}<div class="card"><h3>{{ matrix.name }}</h3>
{{ heat(matrix.classes, matrix.rows) }}
{% if matrix.parts %}<h4>Accuracy by class and domain</h4>{{ heat(matrix.parts.domains, matrix.parts.rows) }}{% endif %}
</div>{% endfor %}</div>{% endif %}

{% if privacy %}
<h2>Privacy</h2>
<div class="two">{% for run in privacy %}
<div class="card"><h3>{{ run.name }}</h3>{{ pairs(run.rows) }}</div>{% endfor %}
</div>{% endif %}

<h2>Ledger</h2>
<div class="two">{% for run in runs %}<div class="card"><h3>{{ run.name }}</h3><table><tbody>
{% for name, value in run.ledger %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}
</tbody></table></div>{% endfor %}</div>
{% endif %}

<h2>How it was made</h2>
{% for run in all_runs %}<div class="card" style="margin-bottom:14px"><h3>{{ run.name }}</h3>
{% if run.command %}<pre>{{ run.command }}</pre>{% endif %}
<details><summary>Environment</summary>{{ pairs(run.environment) }}</details>
<details><summary>Configuration</summary><pre>{{ run.config }}</pre></details>
</div>{% endfor %}
{% endblock %}
"""
