"""What a membership audit leaves: `membership.json` (all figures), `membership.csv`, and a page with the curves."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from experiments.audit.membership import GROUPS, Audited
from fgl_flower.files import read_json, write_json, write_text
from fgl_flower.privacy.membership import LEVELS
from fgl_flower.report.drawing import COLOURS, INK, SERIES, axes, line_style, svg, titled
from fgl_flower.report.parts import fill

__all__ = ["HEADINGS", "headline", "lines", "notes", "plain", "write"]

_FILE = "membership.json"
_ENDS = ("", " low", " high")
_POINTS = 200  # of a curve that are kept
_LEAST = 1e-4  # false positive rate at which the plot begins

_PAGE = """{% extends "base" %}
{% from "parts" import legend %}
{% block content %}
<header><h1>{{ title }}</h1>
<p>Who took part? An attacker has the released model and shadow models: runs of the same configuration, each on a random
half of the private images. Every run is the target once. A true positive is an image that took part and of which the
attack says so; chance has as many true as false positives.</p></header>
{% for group in groups %}
<h2>{{ group.title }}</h2>
<p class="note">{{ group.about }}</p>
<div class="card"><div class="scroll figures"><table><thead><tr>{% for heading in headings %}<th>{{ heading }}</th>
{% endfor %}</tr></thead>
<tbody>{% for line in group.lines %}<tr>{% for cell in line %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody>
</table></div></div>
<div class="card plot below">{{ legend(group.series) }}{{ group.plot }}</div>
{% endfor %}
{% if notes %}<h2>Notes</h2><ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
<p class="note">Intervals: 95 %, Clopper and Pearson's, over all pairs of a target and an image as if they were
independent; the same image under several targets is not quite. Attacks: LiRA (Carlini et al., 2022), RMIA (Zarifzadeh
et al., 2024).</p>
<pre>{{ command }}</pre>
{% endblock %}
"""

_ABOUT = {
    "all": "All private images but the canaries.",
    "canaries": "Private images with a wrong label, which a model can only learn by heart: those most at risk.",
    "hardest": "The twentieth of the private images that models which did not see them get most wrong.",
}
HEADINGS = (
    "method",
    "models seen",
    "runs",
    "test accuracy",
    "attack",
    "AUC",
    "TPR at 0.1 % FPR",
    "TPR at 1 % FPR",
)


def write(found: Sequence[Audited], folder: Path, title: str, command: str) -> Path:
    """Write the files of an audit and return the page's path.

    What earlier audits by the same command, the same file and keys, found of other methods stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier: dict[str, Any] = read_json(folder / _FILE, {})
    kept = earlier["methods"] if earlier.get("command") == command else {}
    for method in dict.fromkeys(one.method for one in found):
        kept[method] = [plain(one) for one in found if one.method == method]
    write_json(folder / _FILE, {"command": command, "methods": kept})
    entries = [entry for entries in kept.values() for entry in entries]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEADINGS[:4], "group", *HEADINGS[4:6], *(f"{level:g}{end}" for level in LEVELS for end in _ENDS)])
    for entry in entries:
        for rate in entry["rates"]:
            at = [value for level in LEVELS for value in rate["at"][f"{level:g}"]]
            writer.writerow([*_who(entry), rate["group"], rate["attack"], rate["auc"], *at])
    write_text(folder / "membership.csv", text.getvalue())
    page = fill(
        _PAGE,
        title=title,
        headings=HEADINGS,
        groups=[_group(name, entries) for name in GROUPS if lines(entries, name)],
        notes=notes(entries),
        command=command,
    )
    write_text(folder / "membership.html", page)
    return folder / "membership.html"


def plain(one: Audited) -> dict[str, Any]:
    """Return what was found as JSON has it."""
    rates = [
        {
            "attack": attack,
            "group": group,
            "auc": rate.auc,
            "at": {f"{level:g}": list(value) for level, value in rate.at.items()},
            "members": rate.members,
            "others": rate.others,
            "curve": _thin(rate.curve),
        }
        for (attack, group), rate in one.rates.items()
    ]
    return {
        "method": one.method,
        "models": one.models,
        "runs": one.runs,
        "accuracy": None if math.isnan(one.accuracy) else one.accuracy,
        "unchanged": one.unchanged,
        "rates": rates,
    }


def _thin(curve: np.ndarray) -> list[list[float]]:
    """Return the curve at false positive rates that are even on a logarithmic axis: (2, points)."""
    false = np.geomspace(_LEAST, 1, _POINTS)
    at = np.searchsorted(curve[0], false, side="right") - 1
    return [[round(float(x), 8) for x in false], [float(curve[1][i]) for i in at]]


def _who(entry: Mapping[str, Any]) -> list[str]:
    accuracy = "" if entry["accuracy"] is None else f"{entry['accuracy']:.1%}"
    return [entry["method"], entry["models"], str(entry["runs"]), accuracy]


def lines(entries: Sequence[Mapping[str, Any]], group: str) -> list[list[str]]:
    """Return a line an attack on a group of images, in the order of `HEADINGS`."""
    result = []
    for entry in entries:
        for rate in entry["rates"]:
            if rate["group"] == group:
                at = [_percent(*rate["at"][f"{level:g}"]) for level in LEVELS]
                result.append([*_who(entry), rate["attack"], f"{rate['auc']:.3f}", *at])
    return result


def _percent(rate: float, low: float, high: float) -> str:
    return f"{100 * rate:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def headline(one: Audited) -> tuple[str, dict[str, Any]]:
    """Return a sentence and figures for a run's report: the strongest attack on all images."""
    attack, rate = max(
        ((attack, rate) for (attack, group), rate in one.rates.items() if group == "all"),
        key=lambda pair: (pair[1].at[0.001][0], pair[1].auc),
    )
    tpr, low, high = rate.at[0.001]
    figures = {"attack": attack, "tpr": tpr, "low": low, "high": high, "auc": rate.auc, "runs": one.runs}
    why = ": the model is the same to the bit whoever takes part" if one.unchanged else ""
    return f"{attack}, {one.runs} runs: {_percent(tpr, low, high)} at 0.1 % FPR, AUC {rate.auc:.3f}{why}", figures


def notes(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence on each method whose model does not depend on who takes part."""
    return [
        f"{entry['method']}: all {entry['runs']} runs gave the same model to the bit, whoever took part: it holds "
        "nothing of single images, and every attack is at chance"
        for entry in entries
        if entry["unchanged"]
    ]


def _group(group: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    best = [(entry, _best(entry, group)) for entry in entries]
    drawn = [(f"{e['method']}, {e['models']}", rate) for e, rate in best if rate is not None]
    return {
        "title": f"{group[0].upper()}{group[1:]} images" if group != "canaries" else "Canaries",
        "about": f"{_ABOUT[group]} Each curve is that of the attack with the highest rate at 1 %.",
        "lines": lines(entries, group),
        "series": [{"series": i, "name": name} for i, (name, _) in enumerate(drawn)],
        "plot": _plot([(name, rate["curve"]) for name, rate in drawn]),
    }


def _best(entry: Mapping[str, Any], group: str) -> Mapping[str, Any] | None:
    known = [rate for rate in entry["rates"] if rate["group"] == group]
    return max(known, key=lambda rate: rate["at"]["0.01"][0], default=None)


def _plot(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> Markup:
    with axes(340, left=60, right=26, top=12, bottom=52) as axis:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(_LEAST, 1)
        axis.set_ylim(_LEAST, 1)
        ticks = [1e-4, 1e-3, 1e-2, 1e-1, 1]
        shares = ["0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
        axis.set_xticks(ticks, shares)
        axis.set_yticks(ticks, shares)
        axis.minorticks_off()
        axis.grid()
        axis.set_xlabel("false positive rate")
        axis.plot([_LEAST, 1], [_LEAST, 1], color=INK, linewidth=1, linestyle="dotted", gid=titled("chance"))
        for i, (name, (false, true)) in enumerate(curves):
            x, y = np.array(false), np.array(true)
            seen = y >= _LEAST
            style = line_style(i)
            axis.plot(x[seen], y[seen], color=SERIES[i % COLOURS], linewidth=1.6, linestyle=style, gid=titled(name))
        return svg(axis, "true positive rate against false positive rate, both logarithmic")
