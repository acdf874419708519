"""The parts of a page that show one run, or the sum of several, ready for the templates."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgl_flower.records.reading import Run
from fgl_flower.records.result import Result
from fgl_flower.report.formatting import human_bytes, human_seconds, percent, ranges
from fgl_flower.report.partition_plot import partition_plot
from fgl_flower.report.problems import Problems

CLIENTS_SHOWN = 60
CLASSES_SHOWN = 60
IMAGES_PER_CLASS = 6
ROWS_SHOWN = 60  # of clients that failed


def bar(series: int, share: float | None, text: str = "") -> dict[str, Any]:
    """Return a bar for the macro `bars`; by default it bears its share in percent."""
    return {"series": series, "share": f"{share or 0:.4f}", "text": text or percent(share)}


def gallery(run: Run) -> list[dict[str, Any]]:
    """Return a row a class: synthetic images with their prompts, real ones beside them. Empty: nothing was drawn."""
    if not any(sample["kind"] == "synthetic" for sample in run.samples):
        return []
    rows = []
    for label in dict.fromkeys(sample["label"] for sample in run.samples):
        mine = [sample for sample in run.samples if sample["label"] == label]
        drawn = [_image(run, s) for s in mine if s["kind"] == "synthetic"][:IMAGES_PER_CLASS]
        real = [_image(run, s) for s in mine if s["kind"] == "validation"][:IMAGES_PER_CLASS]
        rows.append({"label": label, "drawn": drawn, "real": real})
    return rows


def _image(run: Run, sample: dict[str, Any]) -> dict[str, str]:
    data = base64.b64encode((run.path / "samples" / Path(sample["file"]).name).read_bytes()).decode()
    return {"src": f"data:image/png;base64,{data}", "prompt": sample["prompt"], "client": sample["client"]}


def partitions(runs: Sequence[tuple[str, Run]]) -> list[dict[str, Any]]:
    """Return one plot for each different partition, with the names of the runs that had it."""
    plots: dict[str, dict[str, Any]] = {}
    for name, run in runs:
        if not run.partition:
            continue
        plot = plots.get(str(run.partition))
        if plot is None:
            counts = np.asarray(run.partition["counts"])
            svg = partition_plot(counts, run.partition["classes"], clients=CLIENTS_SHOWN)
            plot = {"names": [], "svg": svg, "hidden": max(0, len(counts) - CLIENTS_SHOWN)}
            plots[str(run.partition)] = plot
        if name not in plot["names"]:
            plot["names"].append(name)
    return list(plots.values())


def lost(runs: Sequence[tuple[str, Run]]) -> dict[str, Any]:
    """Return rows for the macro `lost`: clients that failed or were quarantined, images left out, by named run."""
    by_run = [(name, Problems.of(run)) for name, run in runs]
    tables: dict[str, list[dict[str, str]]] = {
        "failed": [
            {"run": name, "who": one.who, "when": ranges(one.rounds), "what": one.reason}
            for name, problems in by_run
            for one in problems.failed
        ],
        "refused": [
            {"run": name, "who": one.who, "what": one.reason} for name, problems in by_run for one in problems.refused
        ],
        "skipped": [
            {"run": name, "who": owner, "what": f"{count:,}"}
            for name, problems in by_run
            for owner, count in problems.skipped.items()
        ],
    }
    return {
        name: {"rows": rows[:ROWS_SHOWN], "hidden": max(0, len(rows) - ROWS_SHOWN)} for name, rows in tables.items()
    }


def confusion(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the counts of `runs` summed, as shares of the true class; None where none left any or classes are many."""
    tables = [run.confusion for run in runs if run.confusion]
    if not tables or len(tables[0]["classes"]) > CLASSES_SHOWN:
        return None
    classes = tables[0]["classes"]
    total = np.sum([table["counts"] for table in tables if table["classes"] == classes], axis=0, dtype=float)
    shares = total / np.maximum(total.sum(1, keepdims=True), 1)
    rows = [
        {"name": name, "cells": [_cell(float(share)) for share in row]}
        for name, row in zip(classes, shares, strict=True)
    ]
    return {"classes": classes, "rows": rows}


def breakdown(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the accuracy by class (rows) and domain (columns) of `runs` together; None where there are no domains."""
    tables = [run.breakdown for run in runs if run.breakdown]
    if not tables or len(tables[0]["classes"]) > CLASSES_SHOWN:
        return None
    first = tables[0]
    alike = [table for table in tables if (table["classes"], table["domains"]) == (first["classes"], first["domains"])]
    right, total = (np.sum([table[what] for table in alike], axis=0) for what in ("right", "total"))
    rows = [
        {"name": name, "cells": [_right(r, t) for r, t in zip(*pair, strict=True)]}
        for name, *pair in zip(first["classes"], right.tolist(), total.tolist(), strict=True)
    ]
    return {"domains": first["domains"], "rows": rows}


def _right(right: int, total: int) -> dict[str, Any]:
    share = right / total if total else 0.0
    return {"share": f"{share:.2f}", "text": f"{100 * share:.0f}" if total else "", "best": False}


def _cell(share: float) -> dict[str, Any]:
    return {"share": f"{share:.2f}", "text": f"{100 * share:.0f}" if share >= 0.005 else "", "best": False}


def transfer(result: Result) -> dict[str, float | None]:
    """Return the share of the clients' images of each class that the one-shot model got right."""
    return {name: counts["right"] / counts["total"] for name, counts in result.transfer.items()}


def levels(result: Result) -> str:
    """Return which classes were drawn at which level, "" where the run had one level."""
    by_level: dict[str, list[str]] = {}
    for name, level in result.levels.items():
        by_level.setdefault(level or "not asked", []).append(name)
    return "; ".join(f"drawn at level {level}: {', '.join(names)}" for level, names in by_level.items())


def ledger(result: Result) -> list[tuple[str, str]]:
    """Return what a run cost as names and texts."""
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


def total_seconds(result: Result) -> float:
    """Return how long the run took."""
    return result.seconds.get("total", sum(result.seconds.values()))


def environment(run: Run) -> list[tuple[str, str]]:
    """Return what a run stood on, but for its models: machine, git revision, libraries."""
    about = {key: value for key, value in run.environment.items() if key not in {"libraries", "git", "python"}}
    git = run.environment.get("git") or {}
    rows = [
        (key.replace("_", " "), human_bytes(value) if key == "memory_bytes" else str(value))
        for key, value in about.items()
        if value is not None
    ]
    revision = git.get("revision") or "unknown"
    rows.append(("git revision", revision + (" with uncommitted changes" if git.get("dirty") else "")))
    return rows + [(name, str(version)) for name, version in (run.environment.get("libraries") or {}).items()]


def models(run: Run) -> list[tuple[str, str]]:
    """Return the foundation models of a run with their revisions."""
    return [
        (f"model: {model.get('role', '')}", " ".join(filter(None, (model.get("id"), model.get("revision")))))
        for model in (run.result.models if run.result else [])
    ]
