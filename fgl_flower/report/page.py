"""Run folders as one self-contained HTML page: no script, no font, no image from elsewhere."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from markupsafe import Markup

from fgl_flower.files import write_text
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.result import Result, partition_name
from fgl_flower.report import sections
from fgl_flower.report.charts import Curve, line_chart
from fgl_flower.report.formatting import human_bytes, human_seconds, percent
from fgl_flower.report.notes import notes as notes_on
from fgl_flower.report.parts import fill
from fgl_flower.report.privacy import privacy_rows
from fgl_flower.report.problems import Problems
from fgl_flower.report.template import PAGE


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
    finished = [(run, run.result) for run in runs if run.result is not None]
    best = max((result.accuracy or 0.0 for _, result in finished), default=0.0)
    shown: list[dict[str, Any]] = [
        {
            "name": run.name,
            "series": number,
            "result": result,
            "best": len(finished) > 1 and result.accuracy == best,
            "seconds": sections.total_seconds(result),
            "ledger": sections.ledger(result),
        }
        for number, (run, result) in enumerate(finished)
    ]
    over_rounds, over_bytes = _curves(finished)
    drawn = [{"name": run.name, "rows": rows} for run, _ in finished if (rows := sections.gallery(run))]
    confusions = [(run.name, sections.confusion([run]), sections.breakdown([run])) for run, _ in finished]
    return fill(
        PAGE,
        title=_title(runs),
        subtitle=_subtitle(runs),
        tiles=_tiles(finished[0][1]) if len(runs) == 1 and finished else [],
        unfinished=[run for run in runs if run.result is None],
        runs=shown,
        by_run=[{"name": run["name"], "bars": [sections.bar(run["series"], run["result"].accuracy)]} for run in shown],
        bytes_by_run=_bytes_bars(shown),
        by_domain=_groups([result.accuracy_by_domain for _, result in finished]),
        by_class=_groups([result.accuracy_by_class for _, result in finished]),
        notes=[(run.name, text) for run, result in finished for text in notes_on(result)],
        transfer=_groups([sections.transfer(result) for _, result in finished]),
        levels=[(run.name, text) for run, result in finished if (text := sections.levels(result))],
        over_rounds=over_rounds,
        over_bytes=over_bytes,
        galleries=drawn,
        partitions=sections.partitions([(run.name, run) for run, _ in finished]),
        warnings=[(run.name, sentences) for run in runs if (sentences := Problems.of(run).sentences())],
        clients=sections.lost([(run.name, run) for run in runs]),
        privacy=[{"name": run.name, "rows": told} for run in runs if (told := privacy_rows(run))],
        confusions=[{"name": name, **table, "parts": parts} for name, table, parts in confusions if table],
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
    return [
        (
            {"value": percent(result.client_accuracy), "label": "right of the clients' images"}
            if result.accuracy is None
            else {"value": percent(result.accuracy), "label": "test accuracy"}
        ),
        {"value": human_bytes(result.bytes_up_per_client), "label": "sent up by a client"},
        {"value": human_seconds(sections.total_seconds(result)), "label": "from start to end"},
        {"value": f"{result.synthetic_images:,}", "label": "images drawn"},
    ]


def _bytes_bars(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    logs = [math.log10(1 + run["result"].bytes_up_per_client) for run in shown]
    top = max(logs, default=0) or 1
    return [
        {
            "name": run["name"],
            "bars": [sections.bar(run["series"], log / top, human_bytes(run["result"].bytes_up_per_client))],
        }
        for run, log in zip(shown, logs, strict=True)
    ]


def _groups(tables: Sequence[dict[str, float | None]]) -> list[dict[str, Any]]:
    """Return a group of bars (a bar a run) for every name that occurs in the tables, in order of appearance."""
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        {"name": name, "bars": [sections.bar(n, table[name]) for n, table in enumerate(tables) if name in table]}
        for name in names
    ]


def _curves(finished: Sequence[tuple[Run, Result]]) -> tuple[Markup, Markup]:
    """Return accuracy over rounds and over bytes; empty where no run has rounds."""
    rounds, sent = [], []
    for number, (run, result) in enumerate(finished):
        events = [event for event in run.events if event.get("event") == "round"]
        if not events:
            share = result.accuracy if result.validation_accuracy is None else result.validation_accuracy
            if share is None:
                continue
            sent_once = ((max(result.bytes_total, 1), share),)
            rounds.append(Curve(run.name, number, ((0, share),)))
            sent.append(Curve(run.name, number, sent_once if result.bytes_total else ()))
            continue
        known = [
            (float(event["round"]), float(event.get("bytes_total", 0)), float(event["validation_accuracy"]))
            for event in events
            if isinstance(event.get("validation_accuracy"), int | float)
        ]
        rounds.append(Curve(run.name, number, tuple((x, share) for x, _, share in known)))
        sent.append(Curve(run.name, number, tuple((x, share) for _, x, share in known)))
    if not any(len(curve.points) > 1 for curve in rounds):
        return Markup(), Markup()
    return line_chart(rounds, "rounds"), line_chart(sent, "bytes")


def _provenance(run: Run) -> dict[str, Any]:
    return {
        "name": run.name,
        "command": run.command,
        "environment": sections.models(run) + sections.environment(run),
        "config": tomli_w.dumps(run.config.to_flat()),
    }
