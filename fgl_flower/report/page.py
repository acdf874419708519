"""Run folders as one self-contained HTML page: no script, no font, no image from elsewhere."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from jinja2 import Environment
from markupsafe import Markup

from fgl_flower.files import write_text
from fgl_flower.report.charts import Curve, line_chart
from fgl_flower.report.partition_plot import partition_plot
from fgl_flower.report.style import CSS
from fgl_flower.report.template import PAGE
from fgl_flower.report.words import human_bytes, human_seconds, percent
from fgl_flower.runs import Result, Run, partition_name, read_run

CLIENTS_SHOWN = 60
IMAGES_PER_CLASS = 6


def write_report(paths: Sequence[str | Path], target: str | Path | None = None) -> Path:
    """Write the page of one or several run folders and return its path.

    Parameters
    ----------
    paths : sequence of paths
        Run folders, in the order of the page's tables.
    target : path, optional
        Where to write; by default `report.html` in the first folder.

    Raises
    ------
    ConfigError
        If a path is no run folder.
    """
    target = Path(target) if target is not None else Path(paths[0]) / "report.html"
    write_text(target, render([read_run(path) for path in paths]))
    return target.resolve()


def render(runs: Sequence[Run]) -> str:
    """Return the page of `runs` as HTML; all text of theirs is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters.update(percent=percent, bytes=human_bytes, seconds=human_seconds)
    finished = [(run, run.result) for run in runs if run.result is not None]
    best = max((result.accuracy for _, result in finished), default=0.0)
    shown: list[dict[str, Any]] = [
        {
            "name": run.name,
            "colour": number % 8,
            "result": result,
            "best": len(finished) > 1 and result.accuracy == best,
            "seconds": result.seconds.get("total", sum(result.seconds.values())),
            "ledger": _ledger(result),
        }
        for number, (run, result) in enumerate(finished)
    ]
    over_rounds, over_bytes = _curves(finished)
    return environment.from_string(PAGE).render(
        css=Markup(CSS),  # our own constant
        title=_title(runs),
        subtitle=_subtitle(runs),
        tiles=_tiles(finished[0][1]) if len(runs) == 1 and finished else [],
        unfinished=[run for run in runs if run.result is None],
        runs=shown,
        by_run=[{"name": run["name"], "bars": [_bar(run["colour"], run["result"].accuracy)]} for run in shown],
        bytes_by_run=_bytes_bars(shown),
        by_domain=_groups([result.accuracy_by_domain for _, result in finished]),
        by_class=_groups([result.accuracy_by_class for _, result in finished]),
        over_rounds=over_rounds,
        over_bytes=over_bytes,
        galleries=[gallery for run, _ in finished if (gallery := _gallery(run))],
        partitions=_partitions([run for run, _ in finished]),
        quarantined=_quarantined(finished),
        confusions=[_confusion(run) for run, _ in finished if run.confusion],
        all_runs=[_provenance(run) for run in runs],
    )


def _title(runs: Sequence[Run]) -> str:
    methods = list(dict.fromkeys(run.config.method for run in runs))
    names = {"fgl": "FGL", "fedavg": "FedAvg", "centralised": "centralised training"}
    titles = [names.get(method, method) for method in methods]
    listed = titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
    datasets = dict.fromkeys(run.config.dataset for run in runs)
    return (
        f"{listed[0].upper()}{listed[1:]} on {', '.join('the built-in world' if d == 'world' else d for d in datasets)}"
    )


def _subtitle(runs: Sequence[Run]) -> str:
    skews = ", ".join(dict.fromkeys(partition_name(run.config) for run in runs))
    clients = ", ".join(dict.fromkeys(f"{run.config.clients:,}" for run in runs))
    seeds = ", ".join(dict.fromkeys(str(run.config.seed) for run in runs))
    return f"{clients} clients · {skews} partition · seed {seeds} · {len(runs)} run{'s' if len(runs) > 1 else ''}"


def _tiles(result: Result) -> list[dict[str, str]]:
    total = result.seconds.get("total", sum(result.seconds.values()))
    return [
        {"value": percent(result.accuracy), "label": "test accuracy"},
        {"value": human_bytes(result.bytes_up_per_client), "label": "sent up by a client"},
        {"value": human_seconds(total), "label": "from start to end"},
        {"value": f"{result.synthetic_images:,}", "label": "images drawn"},
    ]


def _bar(colour: int, share: float | None, text: str = "") -> dict[str, Any]:
    return {"colour": colour, "share": f"{share or 0:.4f}", "text": text or percent(share)}


def _bytes_bars(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    logs = [math.log10(1 + run["result"].bytes_up_per_client) for run in shown]
    top = max(logs, default=0) or 1
    return [
        {
            "name": run["name"],
            "bars": [_bar(run["colour"], log / top, human_bytes(run["result"].bytes_up_per_client))],
        }
        for run, log in zip(shown, logs, strict=True)
    ]


def _groups(tables: Sequence[dict[str, float | None]]) -> list[dict[str, Any]]:
    """Return a group of bars (a bar a run) for every name that occurs in the tables, in order of appearance."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        {"name": name, "bars": [_bar(n % 8, table[name]) for n, table in enumerate(tables) if name in table]}
        for name in names
    ]


def _curves(finished: Sequence[tuple[Run, Result]]) -> tuple[Markup, Markup]:
    """Return accuracy over rounds and over bytes; empty where no run has rounds."""
    rounds, sent = [], []
    for number, (run, result) in enumerate(finished):
        events = [event for event in run.events if event.get("event") == "round"]
        if not events:
            sent_once = ((max(result.bytes_total, 1), result.accuracy),)
            rounds.append(Curve(run.name, number, ((0, result.accuracy),)))
            sent.append(Curve(run.name, number, sent_once if result.bytes_total else ()))
            continue
        for key, dashed in (("validation_accuracy", False), ("test_accuracy", True)):
            known = [event for event in events if isinstance(event.get(key), int | float)]
            over_rounds = tuple((float(event["round"]), float(event[key])) for event in known)
            over_bytes = tuple((float(event.get("bytes_total", 0)), float(event[key])) for event in known)
            rounds.append(Curve(run.name, number, over_rounds, dashed))
            sent.append(Curve(run.name, number, over_bytes, dashed))
    if not any(len(curve.points) > 1 for curve in rounds):
        return Markup(), Markup()
    return (
        line_chart(rounds, x_label="rounds"),
        line_chart(sent, x_label="bytes on the wire, all clients, both ways", log_x=True, x_text=human_bytes),
    )


def _gallery(run: Run) -> dict[str, Any] | None:
    if not any(sample["kind"] == "synthetic" for sample in run.samples):
        return None
    rows = []
    for label in dict.fromkeys(sample["label"] for sample in run.samples):
        mine = [sample for sample in run.samples if sample["label"] == label]
        drawn = [_image(run, s) for s in mine if s["kind"] == "synthetic"][:IMAGES_PER_CLASS]
        real = [_image(run, s) for s in mine if s["kind"] == "validation"][:IMAGES_PER_CLASS]
        rows.append({"label": label, "drawn": drawn, "real": real})
    return {"name": run.name, "rows": rows}


def _image(run: Run, sample: dict[str, Any]) -> dict[str, str]:
    data = base64.b64encode((run.path / "samples" / Path(sample["file"]).name).read_bytes()).decode()
    return {"src": f"data:image/png;base64,{data}", "prompt": sample["prompt"], "client": sample["client"]}


def _partitions(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one plot for each different partition."""
    plots: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.partition and str(run.partition) not in plots:
            counts = np.asarray(run.partition["counts"])
            svg = partition_plot(counts, run.partition["classes"], clients=CLIENTS_SHOWN)
            plots[str(run.partition)] = {"name": run.name, "svg": svg, "hidden": max(0, len(counts) - CLIENTS_SHOWN)}
    return list(plots.values())


def _quarantined(finished: Sequence[tuple[Run, Result]]) -> list[dict[str, str]]:
    return [
        {"run": run.name, "client": client, "reason": reason}
        for run, result in finished
        for client, reason in result.quarantined.items()
    ]


def _confusion(run: Run) -> dict[str, Any]:
    table = run.confusion or {}
    rows = []
    for name, counts in zip(table["classes"], table["counts"], strict=True):
        total = max(1, sum(counts))
        rows.append({"name": name, "shares": [count / total for count in counts]})
    return {"name": run.name, "classes": table["classes"], "rows": rows}


def _ledger(result: Result) -> list[tuple[str, str]]:
    rows = [
        ("bytes up per client", human_bytes(result.bytes_up_per_client)),
        ("bytes down per client", human_bytes(result.bytes_down_per_client)),
        ("bytes once per client (models)", human_bytes(result.bytes_once_per_client)),
        ("bytes in total", human_bytes(result.bytes_total)),
        ("peak memory", human_bytes(result.peak_memory_bytes)),
    ]
    if result.peak_device_memory_bytes is not None:
        rows.append(("peak memory of the accelerator", human_bytes(result.peak_device_memory_bytes)))
    return rows + [(f"time: {phase}", human_seconds(seconds)) for phase, seconds in result.seconds.items()]


def _provenance(run: Run) -> dict[str, Any]:
    about = {key: value for key, value in run.environment.items() if key not in {"libraries", "git", "python"}}
    git = run.environment.get("git") or {}
    rows = [(key.replace("_", " "), value) for key, value in about.items() if value is not None]
    if "memory_bytes" in about:
        rows = [(name, human_bytes(value) if name == "memory bytes" else value) for name, value in rows]
    revision = git.get("revision") or "unknown"
    rows.append(("git revision", revision + (" with uncommitted changes" if git.get("dirty") else "")))
    for model in run.result.models if run.result else []:
        name = " ".join(filter(None, (model.get("id"), model.get("revision"))))
        rows.append((f"model: {model.get('role', '')}", name))
    rows += list((run.environment.get("libraries") or {}).items())
    return {
        "name": run.name,
        "command": run.command,
        "environment": rows,
        "config": tomli_w.dumps(run.config.to_flat()),
    }
