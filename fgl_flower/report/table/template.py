"""The page of a table of runs as a Jinja template; its frame and macros stand in `parts`."""

TABLE = """{% extends "base" %}
{% from "parts" import key, legend, heat, gallery, partition, lost, pairs %}
{% macro pivot(table, first, sort) %}<div class="scroll figures"><table>
<thead><tr><th>{{ first }}</th>
{% for column in table.columns %}<th>{{ column.title or "test accuracy" }}</th>{% endfor %}</tr></thead>
<tbody>{% for line in table.lines %}<tr><td>{{ key(line.method.series, line.method.name) }}</td>
{% for cell in line.cells %}<td{% if cell.best %} class="best"{% elif cell.sign %} class="{{ cell.sign }}"{% endif %}>
{% if sort == "points" %}{{ cell.interval|points_interval }}{% else %}{{ cell.interval|percent_interval }}{% endif %}
{% if cell.mark %}<sup class="failed">{{ cell.mark }}</sup>{% endif %}
{% if cell.seeds %}<span class="under">{{ cell.seeds }}</span>{% endif %}
{% if cell.published %}<span class="under">{{ cell.published }}</span>{% endif %}</td>
{% endfor %}</tr>{% endfor %}</tbody></table></div>{% endmacro %}

{% block content %}
<header>
<h1>{{ title }}</h1>
{% if about %}<p>{{ about }}</p>{% endif %}
<p class="note">{{ subtitle }}</p>
<nav>{% for id, name in contents %}<a href="#{{ id }}">{{ name }}</a>{% endfor %}</nav>
</header>

<h2 id="accuracy">Test accuracy</h2>
<p class="note">Mean over seeds on the test split, on which nothing was selected{% if intervals %}, with the half width
of the 95&nbsp;% interval (Student's t){% endif %}. Bold: the best of a column.
{% if most == 1 %}One seed tells nothing of the spread: no intervals.{% endif %}</p>
<div class="card">{{ pivot(accuracy, axes[0], "percent") }}
{% if accuracy.notes %}<ol class="notes">{% for note in accuracy.notes %}
<li><strong>{{ note.title }}</strong>{% for seeds, reason in note.reasons %}
<div><span class="failed">{{ seeds }} failed:</span> {{ reason }}</div>{% endfor %}
{% for seeds, sentence in note.problems %}
<div><span class="failed">{{ seeds }}:</span> {{ sentence }}</div>{% endfor %}</li>
{% endfor %}</ol>{% endif %}</div>
{% if published %}<p class="note below">Published: {{ published }}.{% if differs %} What differs here:{% endif %}</p>
{% if differs %}<ul class="note">{% for sentence in differs %}<li>{{ sentence }}</li>{% endfor %}</ul>{% endif %}
{% endif %}
{% if dots %}<div class="many below">{% for plot in dots %}
<div class="card plot">{% if plot.title %}<h3>{{ plot.title }}</h3>{% endif %}{{ plot.svg }}</div>{% endfor %}</div>
<p class="note below">Dots: means; whiskers: 95&nbsp;% intervals; small dots: single seeds. All plots share one axis,
which need not begin at zero.</p>{% endif %}

{% if differences %}
<h2 id="differences">Difference from {{ against }}</h2>
<p class="note">Points of test accuracy, paired by seed: partition, initialisation and test images are the same on both
sides. Coloured where the 95&nbsp;% interval leaves out zero.</p>
<div class="card">{{ pivot(differences, axes[0], "points") }}</div>
{% endif %}

{% if columns %}
<h2 id="cost">Cost</h2>
<p class="note">Means over seeds. Bytes are those of the messages as serialised; images are those the server drew.
{{ others_work }}</p>
{% if cost_plots %}<div class="many" style="margin-bottom:14px">{% for plot in cost_plots %}<div class="card plot">
<h3>Accuracy against bytes up per client{% if plot.title %}: {{ plot.title }}{% endif %}</h3>
{{ legend(plot.legend) }}{{ plot.svg }}</div>{% endfor %}</div>{% endif %}
<div class="many wide">{% for column in columns %}<div class="card">
{% if column.title %}<h3>{{ column.title }}</h3>{% endif %}
<div class="scroll figures dense"><table>
<thead><tr><th>{{ axes[0] }}</th><th>up per client</th><th>total bytes</th><th>time</th><th>images</th></tr></thead>
<tbody>{% for name, series, cells in column.costs %}<tr><td>{{ key(series, name) }}</td>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div></div>{% endfor %}</div>
{% endif %}

{% if curves %}
<h2 id="curves">On the way</h2>
<p class="note">Validation accuracy: the mean over seeds, in a band from the lowest to the highest. A dot with a dotted
line is a method without rounds.</p>
<div class="stack">{% for pair in curves %}<div class="card">
{% if pair.title %}<h3>{{ pair.title }}</h3>{% endif %}{{ legend(pair.legend) }}
<div class="two plot curves">
<div><h4>Accuracy over rounds</h4>{{ pair.over_rounds }}</div>
{% if pair.over_bytes %}<div><h4>Accuracy over bytes</h4>{{ pair.over_bytes }}</div>{% endif %}
</div></div>{% endfor %}</div>
{% endif %}

{% if has_parts %}
<h2 id="where">Where it is right</h2>
<p class="note">Test accuracy in percent, means over seeds. Bold: the best of a domain or class.</p>
<div class="stack">{% for column in columns %}{% if column.domains or column.classes %}<div class="card">
{% if column.title %}<h3>{{ column.title }}</h3>{% endif %}
<div class="two where">
{% if column.domains %}<div><h4>By domain</h4>{{ heat(column.domains.names, column.domains.rows) }}</div>{% endif %}
{% if column.classes %}<div><h4>By class</h4>{{ heat(column.classes.names, column.classes.rows) }}</div>{% endif %}
</div>
{% if column.confusions %}<details><summary>Confusion, by class and domain</summary>
<p class="note">Rows: true class; columns: predicted class; percent of the row, all seeds together.</p>
<div class="many">{% for matrix in column.confusions %}<div><h4>{{ matrix.name }}</h4>
{{ heat(matrix.classes, matrix.rows) }}
{% if matrix.parts %}<h4>By class and domain</h4>{{ heat(matrix.parts.domains, matrix.parts.rows) }}{% endif %}
</div>{% endfor %}</div></details>{% endif %}
</div>{% endif %}{% endfor %}</div>
{% endif %}

{% if galleries %}
<h2 id="drawn">What the server drew</h2>
<p class="note">Left: synthetic images over the prompts they were drawn from. Right: real images of the same class
from the validation split; private images are never shown. One seed, every set of prompts once.</p>
{% for drawn in galleries %}
{% if galleries|length > 2 %}<details><summary>{{ drawn.name }}</summary>{{ gallery(drawn.rows) }}</details>{% else %}
<h3 class="below">{{ drawn.name }}</h3>{{ gallery(drawn.rows) }}{% endif %}{% endfor %}
{% endif %}

{% if partitions or columns %}
<h2 id="clients">Clients</h2>
{% if partitions %}<p class="note">Private images by client and class, with seed {{ first_seed }}, every different
partition once.</p>{% endif %}
<div class="two">{% for plot in partitions %}{{ partition(plot, plot.names|join(", ") or "All runs") }}{% endfor %}
{{ lost(clients, true) }}</div>
{% endif %}

{% if tuned %}
<h2 id="tuning">Tuning</h2>
<p class="note">Chosen on the validation split{% if grid %} from {% for name, values in grid %}
<strong>{{ name }}</strong>: {{ values|join(", ") }}{{ "; " if not loop.last }}{% endfor %}{% endif %}.
A value at the end of its grid is marked with *: a better one may lie beyond.</p>
<div class="card"><div class="scroll figures"><table>
<thead><tr><th>{{ axes[0] }}</th>
{% for column in tuned.columns %}<th>{{ column.title or "chosen" }}</th>{% endfor %}</tr></thead>
<tbody>{% for line in tuned.lines %}<tr><td>{{ key(line.method.series, line.method.name) }}</td>
{% for cell in line.cells %}<td>{% for text in cell %}<div>{{ text }}</div>{% else %}–{% endfor %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></div>
{% endif %}

{% if columns %}
<h2 id="ledger">Ledger</h2>
<p class="note">Bytes and times are means over seeds, memory is the largest seen. {{ others_work }}</p>
<div class="card">{% for column in columns %}
{% if column.title %}<details><summary>{{ column.title }}</summary>{% endif %}
<div class="scroll figures dense"><table>
<thead><tr><th>{{ axes[0] }}</th>{% for head in column.ledger.heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for name, cells in column.ledger.lines %}<tr><td>{{ name }}</td>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% if column.title %}</details>{% endif %}{% endfor %}</div>
{% endif %}

<h2 id="made">How it was made</h2>
<div class="card">{% if command %}<pre>{{ command }}</pre>{% endif %}
{% for found in environments %}<details><summary>Environment of {{ found.title }}</summary>
{% if found.names %}<p class="note">{{ found.names }}</p>{% endif %}{{ pairs(found.rows) }}</details>
{% endfor %}
{% if configurations %}<details><summary>Configurations, of the first run of each row</summary>
{% for name, text in configurations %}
<details class="inner"><summary>{{ name }}</summary><pre>{{ text }}</pre></details>{% endfor %}</details>{% endif %}
</div>
{% endblock %}
"""
