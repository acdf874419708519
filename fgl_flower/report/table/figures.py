"""The figures of a table of runs: cells over seeds, differences paired by seed, what it cost, where it was right."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from fgl_flower.records.result import Result
from fgl_flower.report import sections
from fgl_flower.report.formatting import human_bytes, human_seconds, seeds_text
from fgl_flower.report.intervals import Interval, interval, paired_difference
from fgl_flower.report.table.rows import Column, Row, columns_of, methods_of

BYTES = {
    "up_per_client": "up per client",
    "down_per_client": "down per client",
    "once_per_client": "once per client",
    "total": "total bytes",
}


def accuracy_table(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the pivot table of test accuracy: a line a method, a cell a column, notes on what went wrong."""
    by_names = {row.names: row for row in rows}
    columns, most = columns_of(rows), max((len(row.results) for row in rows), default=0)
    best = {
        column.names: max((fmean(row.accuracies.values()) for row in column.rows if row.results), default=math.inf)
        for column in columns
    }
    rivals = {column.names: sum(bool(row.results) for row in column.rows) > 1 for column in columns}
    notes: list[dict[str, Any]] = []
    lines = []
    for method in methods_of(rows):
        cells: list[dict[str, Any]] = []
        for column in columns:
            row = by_names.get((method.name, *column.names))
            if row is None:
                cells.append({"interval": None})
                continue
            published = "" if row.published is None else f"published {100 * row.published:.4g}"
            values, problems = list(row.accuracies.values()), row.problems()
            cells.append(
                {
                    "interval": interval(values) if values else None,
                    "best": bool(values) and rivals[column.names] and fmean(values) == best[column.names],
                    "seeds": _fewer(len(values), most) or ("" if values or row.failures else "not run"),
                    "mark": len(notes) + 1 if row.failures or problems else 0,
                    "published": published,
                }
            )
            if row.failures or problems:
                notes.append({"title": row.title, "reasons": _by_reason(row.failures), "problems": problems})
        lines.append({"method": method, "cells": cells})
    return {"columns": columns, "lines": lines, "notes": notes}


def _fewer(count: int, most: int) -> str:
    return f"{count} of {most} seeds" if 0 < count < most else ""


def _by_reason(failures: Mapping[int, str]) -> list[tuple[str, str]]:
    """Return each reason once, with its seeds."""
    reasons = dict.fromkeys(failures[seed] for seed in sorted(failures))
    return [(seeds_text(seed for seed in failures if failures[seed] == reason), reason) for reason in reasons]


def difference_table(rows: Sequence[Row], against: str) -> dict[str, Any] | None:
    """Return every method minus `against`, paired by seed; None where there is nothing to compare."""
    by_names = {row.names: row.accuracies for row in rows}
    columns, methods = columns_of(rows), [method for method in methods_of(rows) if method.name != against]
    differences = [
        [
            paired_difference(
                by_names.get((method.name, *column.names), {}), by_names.get((against, *column.names), {})
            )
            for column in columns
        ]
        for method in methods
    ]
    most = max((cell.count for cells in differences for cell in cells if cell), default=0)
    if not most:
        return None
    lines = []
    for method, cells in zip(methods, differences, strict=True):
        shown = [{"interval": c, "sign": _sign(c), "seeds": _fewer(c.count, most) if c else ""} for c in cells]
        lines.append({"method": method, "cells": shown})
    return {"columns": columns, "lines": lines}


def _sign(difference: Interval | None) -> str:
    """Return 'up' or 'down' where the interval leaves out zero."""
    if difference is None or not abs(difference.mean) > difference.half:
        return ""
    return "up" if difference.mean > 0 else "down"


def costs(column: Column) -> list[list[str]]:
    """Return bytes up per client, bytes in total, time and synthetic images of each row, as means over seeds."""
    lines = []
    for row in column.rows:

        def mean(of: Callable[[Result], float], text: Callable[[float], str], row: Row = row) -> str:
            return text(fmean(map(of, row.results.values()))) if row.results else "–"

        up = mean(lambda result: result.bytes_up_per_client, human_bytes)
        total = mean(lambda result: result.bytes_total, human_bytes)
        time = mean(sections.total_seconds, human_seconds) + _others_work(row)
        lines.append([up, total, time, mean(lambda result: result.synthetic_images, lambda count: f"{count:,.0f}")])
    return lines


def _others_work(row: Row) -> str:
    """Return the mark of a time that lacks what an earlier run had made; the page explains it."""
    return " *" if row.with_others_work else ""


def ledger(column: Column) -> dict[str, Any]:
    """Return everything that was counted: bytes and seconds as means over seeds, memory as the largest."""
    every = [result for row in column.rows for result in row.results.values()]
    phases = dict.fromkeys(phase for result in every for phase in result.seconds if phase != "total")
    with_device = any(result.peak_device_memory_bytes is not None for result in every)
    lines = []
    for row in column.rows:
        results = list(row.results.values())
        if not results:
            continue
        cells = [human_bytes(fmean(getattr(result, f"bytes_{way}") for result in results)) for way in BYTES]
        cells.append(human_bytes(max(result.peak_memory_bytes for result in results)))
        if with_device:
            device = [result.peak_device_memory_bytes or 0 for result in results]
            cells.append(human_bytes(max(device)) if any(device) else "–")
        for phase in phases:
            seconds = [result.seconds[phase] for result in results if phase in result.seconds]
            cells.append(human_seconds(fmean(seconds)) if seconds else "–")
        total = human_seconds(fmean(map(sections.total_seconds, results))) + _others_work(row)
        lines.append((row.names[0], [*cells, total]))
    memory = ["peak memory", "on the accelerator"] if with_device else ["peak memory"]
    return {"heads": [*BYTES.values(), *memory, *phases, "total time"], "lines": lines}


def where_right(column: Column, part: str) -> dict[str, Any] | None:
    """Return accuracy by `part` ('domain' or 'class') as means over seeds; None where no run has any."""
    tables = {
        row.names[0]: [getattr(result, f"accuracy_by_{part}") for result in row.results.values()] for row in column.rows
    }
    names = list(dict.fromkeys(name for listed in tables.values() for table in listed for name in table))
    if not names:
        return None
    means = {method: [_mean_known(listed, name) for name in names] for method, listed in tables.items() if listed}
    by_name = zip(*means.values(), strict=True)
    best = [max((share for share in shares if share is not None), default=None) for shares in by_name]
    rows = [
        {
            "name": method,
            "cells": [
                {
                    "share": f"{share or 0:.2f}",
                    "text": "–" if share is None else f"{100 * share:.0f}",
                    "best": len(means) > 1 and share is not None and share == best[n],
                }
                for n, share in enumerate(shares)
            ],
        }
        for method, shares in means.items()
    ]
    return {"names": names, "rows": rows}


def _mean_known(tables: Sequence[Mapping[str, float | None]], name: str) -> float | None:
    shares = [share for table in tables if (share := table.get(name)) is not None]
    return fmean(shares) if shares else None
