"""What a table leaves beside its page: `table.csv` (a line a run), `summary.csv` (a line a cell) and `table.md`.

The same finished cells give the same files to the byte: times of the clock stand in `seconds.csv` alone, and in the
Markdown of tables that ask for a target.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.table.spec import Table
from fgl_flower.files import write_text
from fgl_flower.records.reading import Run
from fgl_flower.report.formatting import human_bytes, human_seconds
from fgl_flower.report.intervals import Interval, interval, paired_difference
from fgl_flower.report.problems import Problems
from fgl_flower.report.table.rows import Row
from fgl_flower.report.table.tuned import at_an_end

FIGURES = (
    "accuracy",
    "validation_accuracy",
    "rounds",
    "synthetic_images",
    "bytes_up_per_client",
    "bytes_down_per_client",
    "bytes_once_per_client",
    "bytes_total",
)


def write_files(table: Table, rows: Sequence[Row], tried: Sequence[Mapping[str, Any]], folder: Path, how: str) -> None:
    """Write all files of a table.

    Parameters
    ----------
    table : Table
    rows : sequence of Row
        A row a cell.
    tried : sequence of mappings
        Every tuning run: the axes' values, the tuned keys and `validation_accuracy`.
    folder : Path
    how : str
        The command that reproduces it.
    """
    write_text(folder / "table.csv", _csv(_runs(table, rows)))
    write_text(folder / "summary.csv", _csv(_summary(table, rows)))
    write_text(folder / "seconds.csv", _csv(_seconds(table, rows)))
    if tried:
        write_text(folder / "tuning.csv", _csv(tried))
    write_text(folder / "table.md", markdown(table, rows, how))


def markdown(table: Table, rows: Sequence[Row], how: str) -> str:
    """Return the table as GitHub's Markdown: accuracies, paired differences, bytes, what was tuned, the command."""
    parts = [f"## {table.title}", table.about, f"```\n{how}\n```"]
    down, across = _pivot(rows)
    cells = {(row.names[0], row.names[1:]): row for row in rows}
    seeds = len(table.seeds)
    parts.append(
        f"Test accuracy in percent, mean ± 95 % interval over {seeds} seeds:" if seeds > 1 else "Test accuracy:"
    )
    parts.append(_grid(table.axes, down, across, lambda name, rest: _accuracy(cells.get((name, rest)), seeds)))
    if table.published:
        parts.append(f"Published, in percent ({table.published.source}):")
        parts.append(_grid(table.axes, down, across, lambda name, rest: published(cells.get((name, rest)))))
        parts.append("\n".join(f"- differs here: {_escaped(sentence)}" for sentence in table.published.differs))
    if table.against:
        parts.append(f"Points ahead of {table.against}, paired by seed:")
        others = [name for name in down if name != table.against]
        parts.append(
            _grid(table.axes, others, across, lambda name, rest: _ahead(cells, name, table.against, rest, seeds))
        )
    parts.append("Bytes that a client sends up over the whole run:")
    parts.append(_grid(table.axes, down, across, lambda name, rest: _bytes_up(cells.get((name, rest)))))
    if table.target:
        parts.append(
            f"Until validation accuracy first reached {100 * table.target:g} %: rounds, bytes both ways over all"
            " clients and seconds, means over the seeds (in brackets how many of them reached it):"
        )
        parts.append(
            _grid(table.axes, down, across, lambda name, rest: _reached(cells.get((name, rest)), table.target))
        )
    if tuned := [row for row in rows if row.tuned]:
        grid = table.tune.grid if table.tune else {}
        tried = "; ".join(f"{key} from {', '.join(f'{v:g}' for v in values)}" for key, values in grid.items())
        assert table.tune is not None
        parts.append(
            f"Chosen on validation by runs of at most {table.tune.rounds} rounds with seed {table.tune.seed}: {tried}."
        )
        parts.append(_lines([(*table.axes, "chosen")] + [(*row.names, named(row.tuned, grid)) for row in tuned]))
    failures = [(*row.names, str(seed), reason) for row in rows for seed, reason in row.failures.items()]
    if failures:
        parts.append("Failed:")
        parts.append(_lines([(*table.axes, "seed", "reason"), *failures]))
    if problems := [(*row.names, seeds, sentence) for row in rows for seeds, sentence in row.problems()]:
        parts.append("Marked with !:")
        parts.append(_lines([(*table.axes, "seeds", "what happened"), *problems]))
    if note := revisions(rows):
        parts.append(note)
    return "\n\n".join(part for part in parts if part) + "\n"


def revisions(rows: Sequence[Row]) -> str:
    """Return a sentence that counts runs by revision of the code, or "" where all stand on one that is committed."""
    states = Counter(
        (run.result.git.get("revision") or "unknown")[:10] + " with changes" * bool(run.result.git.get("dirty"))
        for row in rows
        for run in row.runs.values()
        if run.result
    )
    if len(states) < 2 and not any("changes" in state for state in states):
        return ""
    counted = ", ".join(f"{state} ({count})" for state, count in states.most_common())
    return f"Revisions of the code that the runs stand on, with their numbers of runs: {counted}."


def _pivot(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
    return list(dict.fromkeys(row.names[0] for row in rows)), list(dict.fromkeys(row.names[1:] for row in rows))


def _grid(axes: Sequence[str], down: Sequence[str], across: Sequence[tuple[str, ...]], cell: Any) -> str:
    head = (axes[0], *(" · ".join(rest) if rest else "all" for rest in across))
    return _lines([head] + [(name, *(cell(name, rest) for rest in across)) for name in down])


def _lines(rows: Sequence[Sequence[str]]) -> str:
    escaped = [[_escaped(" ".join(value.split())) for value in row] for row in rows]
    head, *body = escaped
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def _escaped(text: str) -> str:
    for plain, safe in (("\\", "\\\\"), ("|", "\\|"), ("&", "&amp;"), ("<", "&lt;")):
        text = text.replace(plain, safe)
    return text


def plus_minus(value: Interval, sign: str = "") -> str:
    """Return shares as percent, "92.4 ± 0.6"; of a single value nothing is known of the spread."""
    mean = f"{100 * value.mean:{sign}.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"


def _accuracies(row: Row) -> dict[int, float]:
    return {seed: a for seed, run in row.runs.items() if run.result and (a := run.result.accuracy) is not None}


def _accuracy(row: Row | None, seeds: int) -> str:
    if row is None:
        return "–"
    if not row.runs:
        return "failed" if row.failures else "not run"
    short = f" ({len(row.runs)} of {seeds})" if len(row.runs) < seeds else ""
    return plus_minus(interval(list(_accuracies(row).values()))) + mark(row) + short


def published(row: Row | None) -> str:
    """Return the figure that others have published for a cell, in percent."""
    return "–" if row is None or row.published is None else f"{100 * row.published:.4g}"


def mark(row: Row) -> str:
    """Return the mark of a cell whose runs have problems: failed clients, images left out, warnings."""
    return " !" if row.problems() else ""


def _ahead(cells: Mapping[Any, Row], name: str, against: str, rest: tuple[str, ...], seeds: int) -> str:
    ours, theirs = cells.get((name, rest)), cells.get((against, rest))
    difference = paired_difference(_accuracies(ours), _accuracies(theirs)) if ours and theirs else None
    if difference is None:
        return "–"
    return plus_minus(difference, sign="+") + (f" ({difference.count} of {seeds})" if difference.count < seeds else "")


def _bytes_up(row: Row | None) -> str:
    values = [run.result.bytes_up_per_client for run in row.runs.values() if run.result] if row else []
    return human_bytes(interval(values).mean) if values else "–"


def _reached(row: Row | None, target: float) -> str:
    if row is None or not row.runs:
        return "–"
    events = [event for run in row.runs.values() if (event := first_at(run, target))]
    if not events:
        return "never"
    rounds, sent, seconds = (
        interval([event[key] for event in events]).mean for key in ("round", "bytes_total", "time")
    )
    return f"{rounds:.0f} rounds, {human_bytes(sent)}, {human_seconds(seconds)} ({len(events)} of {len(row.runs)})"


def first_at(run: Run, target: float) -> dict[str, Any] | None:
    """Return the first round event whose validation accuracy is at least `target`."""
    return next(
        (e for e in run.events if e.get("event") == "round" and (e.get("validation_accuracy") or 0) >= target), None
    )


def named(values: Mapping[str, float], grid: Mapping[str, Sequence[float]] | None = None) -> str:
    """Return tuned values as text; one at an end of its grid is marked, as a better one may lie beyond."""
    return ", ".join(
        f"{key} = {value:g}" + " (an end of the grid)" * at_an_end(value, (grid or {}).get(key, ()))
        for key, value in values.items()
    )


def _runs(table: Table, rows: Sequence[Row]) -> list[dict[str, Any]]:
    keys = list(dict.fromkeys(key for row in rows for key in row.tuned))
    return [
        {
            **dict(zip(table.axes, row.names, strict=True)),
            "seed": seed,
            **{figure: getattr(run.result, figure) for figure in FIGURES},
            **{key: row.tuned.get(key, "") for key in keys},
            **_problems(run),
        }
        for row in rows
        for seed, run in sorted(row.runs.items())
    ]


def _problems(run: Run) -> dict[str, Any]:
    """Return how many clients failed in some round and were quarantined, images left out, and the warnings."""
    problems = Problems.of(run)
    return {
        "failures": len({failure.client for failure in problems.failures}),
        "quarantined": len(problems.quarantined),
        "skipped": sum(problems.skipped.values()),
        "warnings": "; ".join(problems.warnings),
    }


def _summary(table: Table, rows: Sequence[Row]) -> list[dict[str, Any]]:
    lines = []
    against = {row.names[1:]: _accuracies(row) for row in rows if row.names[0] == table.against}
    for row in rows:
        accuracy = interval(list(_accuracies(row).values())) if row.runs else None
        ahead = paired_difference(_accuracies(row), against.get(row.names[1:], {}))
        lines.append(
            {
                **dict(zip(table.axes, row.names, strict=True)),
                "runs": len(row.runs),
                "accuracy": accuracy.mean if accuracy else "",
                "accuracy_half": accuracy.half if accuracy and not math.isnan(accuracy.half) else "",
                "ahead": ahead.mean if ahead else "",
                "ahead_half": ahead.half if ahead and not math.isnan(ahead.half) else "",
                **({"published": "" if row.published is None else row.published} if table.published else {}),
            }
        )
    return lines


def _seconds(table: Table, rows: Sequence[Row]) -> list[dict[str, Any]]:
    runs = [(row, seed, run.result) for row in rows for seed, run in sorted(row.runs.items()) if run.result]
    phases = list(dict.fromkeys(phase for *_, result in runs for phase in result.seconds))
    return [
        {
            **dict(zip(table.axes, row.names, strict=True)),
            "seed": seed,
            **{phase: round(result.seconds.get(phase, 0.0), 3) for phase in phases},
        }
        for row, seed, result in runs
    ]


def _csv(lines: Iterable[Mapping[str, Any]]) -> str:
    lines = list(lines)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
