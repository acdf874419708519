"""A table of runs as one self-contained HTML page: no script, no font, no image from elsewhere."""

from pathlib import Path
from typing import Any

import tomli_w

from fgl_flower.files import write_text
from fgl_flower.records.reading import Run
from fgl_flower.report import sections
from fgl_flower.report.formatting import seeds_text
from fgl_flower.report.parts import fill
from fgl_flower.report.table import figures as table_figures
from fgl_flower.report.table.curves import cost_plots, curve_pairs, dot_plots
from fgl_flower.report.table.rows import Column, Row, TableReport, columns_of, methods_of
from fgl_flower.report.table.template import TABLE
from fgl_flower.report.table.tuned import at_an_end


def write_table_page(report: TableReport, target: Path) -> Path:
    """Write the page in one move and return its absolute path."""
    target = Path(target)
    write_text(target, render_table_page(report))
    return target.resolve()


def render_table_page(report: TableReport) -> str:
    """Return the page of `report` as HTML; all text in it is escaped."""
    rows = report.rows
    first_seed = min((seed for row in rows for seed in row.runs), default=0)
    values: dict[str, Any] = {
        "accuracy": table_figures.accuracy_table(rows),
        "intervals": any(len(row.results) > 1 for row in rows),
        "most": max((len(row.results) for row in rows), default=0),
        "dots": dot_plots(rows),
        "cost_plots": cost_plots(rows),
        "differences": table_figures.difference_table(rows, report.against) if report.against else None,
        "curves": curve_pairs(rows),
        "galleries": _galleries(rows),
        "first_seed": first_seed,
        "partitions": _partitions(rows, first_seed),
        "clients": sections.lost(_named_runs(rows)),
        "tuned": _tuned(report),
        "environments": _environments(rows),
    }
    columns = [_column(column, report) for column in columns_of(rows) if any(row.results for row in column.rows)]
    values |= {
        "columns": columns,
        "has_parts": any(column["domains"] or column["classes"] for column in columns),
        "configurations": [
            (row.title, tomli_w.dumps(row.runs[min(row.runs)].config.to_flat())) for row in rows if row.runs
        ],
    }
    return fill(
        TABLE,
        title=report.title,
        about=report.about,
        subtitle=_subtitle(report),
        axes=report.axes,
        against=report.against,
        grid=[(key, [f"{value:g}" for value in tried]) for key, tried in report.grid.items()],
        command=report.command,
        published=report.published,
        differs=report.differs,
        others_work=_OTHERS_WORK if any(row.with_others_work for row in report.rows) else "",
        contents=_contents(values),
        **values,
    )


_OTHERS_WORK = (
    "A time with * is of runs some of which took images or a one-shot model that an earlier run had made: what those "
    "cost is not in it."
)


def _subtitle(report: TableReport) -> str:
    done = sum(len(row.results) for row in report.rows)
    failed = sum(len(row.failures) for row in report.rows)
    sizes = [
        f"{len(values)} {axis}{'s' if len(values) != 1 else ''}"
        for number, axis in enumerate(report.axes)
        if (values := {row.names[number] for row in report.rows})
    ]
    seeds = {seed for row in report.rows for seed in row.runs} or {s for row in report.rows for s in row.failures}
    listed = [seeds_text(seeds)] if seeds else []
    runs = [f"{done} finished run{'s' if done != 1 else ''}"] + ([f"{failed} failed"] if failed else [])
    return " · ".join([" × ".join(sizes), *listed, *runs])


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the anchors and names of the sections that the page has."""
    sections_of_page = [
        ("accuracy", "Test accuracy", True),
        ("differences", "Differences", values["differences"]),
        ("cost", "Cost", values["columns"]),
        ("curves", "On the way", values["curves"]),
        ("where", "Where it is right", values["has_parts"]),
        ("drawn", "What the server drew", values["galleries"]),
        ("clients", "Clients", values["partitions"] or values["columns"]),
        ("tuning", "Tuning", values["tuned"]),
        ("ledger", "Ledger", values["columns"]),
        ("made", "How it was made", True),
    ]
    return [(anchor, name) for anchor, name, there in sections_of_page if there]


def _column(column: Column, report: TableReport) -> dict[str, Any]:
    series = {method.name: method.series for method in methods_of(report.rows)}
    costs = table_figures.costs(column)
    tables = [
        (row.names[0], sections.confusion(list(row.runs.values())), sections.breakdown(list(row.runs.values())))
        for row in column.rows
    ]
    return {
        "title": column.title,
        "ledger": table_figures.ledger(column),
        "costs": [(row.names[0], series[row.names[0]], cells) for row, cells in zip(column.rows, costs, strict=True)],
        "domains": table_figures.where_right(column, "domain"),
        "classes": table_figures.where_right(column, "class"),
        "confusions": [{"name": name, **table, "parts": parts} for name, table, parts in tables if table],
    }


def _galleries(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Return the images of each row's first seed, every different set of prompts once."""
    galleries: dict[frozenset[str], dict[str, Any]] = {}
    for row in rows:
        run = row.runs[min(row.runs)] if row.runs else None
        prompts = frozenset(s["prompt"] for s in run.samples if s["kind"] == "synthetic") if run else frozenset()
        if run and prompts and prompts not in galleries:
            galleries[prompts] = {"name": row.title, "rows": sections.gallery(run)}
    return list(galleries.values())


def _partitions(rows: tuple[Row, ...], seed: int) -> list[dict[str, Any]]:
    """Return the label distributions of a seed, one plot for each different one, named after its columns."""
    return sections.partitions([(row.title_across, row.runs[seed]) for row in rows if seed in row.runs])


def _named_runs(rows: tuple[Row, ...]) -> list[tuple[str, Run]]:
    return [(f"{row.title}, seed {seed}", run) for row in rows for seed, run in sorted(row.runs.items())]


def _tuned(report: TableReport) -> dict[str, Any] | None:
    """Return the chosen values, a line a method and a cell a column; keys are named where there are several."""
    columns, tuned_by_names = columns_of(report.rows), {row.names: row.tuned for row in report.rows}
    several = len({key for tuned in tuned_by_names.values() for key in tuned}) > 1
    lines = []
    for method in methods_of(report.rows):
        chosen = [tuned_by_names.get((method.name, *column.names), {}) for column in columns]
        cells = [
            [
                f"{key} = " * several + f"{value:g}" + "*" * at_an_end(value, report.grid.get(key, ()))
                for key, value in tuned.items()
            ]
            for tuned in chosen
        ]
        if any(cells):
            lines.append({"method": method, "cells": cells})
    return {"columns": columns, "lines": lines} if lines else None


def _environments(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """Return every different environment with the runs that had it; the models of all runs stand before each."""
    by_environment: dict[tuple[tuple[str, str], ...], list[str]] = {}
    models: dict[tuple[str, str], None] = {}
    for row in rows:
        for seed, run in sorted(row.runs.items()):
            by_environment.setdefault(tuple(sections.environment(run)), []).append(f"{row.title}, seed {seed}")
            models |= dict.fromkeys(sections.models(run))
    if len(by_environment) == 1:
        return [{"title": "every run", "names": "", "rows": [*models, *next(iter(by_environment))]}]
    return [
        {
            "title": f"{len(names)} run{'s' if len(names) > 1 else ''}",
            "names": "; ".join(names),
            "rows": [*models, *environment],
        }
        for environment, names in by_environment.items()
    ]
