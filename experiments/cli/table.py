"""`fgl table`: a base configuration times axes times seeds, by one command."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from experiments.cli.dry_run import show_missing
from experiments.cli.options import SetOption, overrides
from experiments.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, console, errors, errors_as_sentences, quiet, show
from experiments.table.cells import Cells, different
from experiments.table.files import mark, named, plus_minus, published, revisions, write_files
from experiments.table.spec import Cell, Table
from experiments.table.workers import Workers
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.records.reading import Run
from fgl_flower.report.formatting import shortened
from fgl_flower.report.intervals import interval
from fgl_flower.report.table.rows import Row, TableReport

PROBLEMS_SHOWN = 12  # lines on the terminal


def table(
    file: Annotated[Path, typer.Argument(help="The table's file (see experiments/tables).", metavar="FILE")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Runs at once; 0: as many as there are cores.")] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=VALUE", help="Run these cells only (repeatable); finished others are shown, too."),
    ] = None,
    set_: SetOption = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder of all tables, their cells and their store.")] = Path(
        "runs/tables"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be run, and run nothing.")] = False,
) -> None:
    """Run a table: every combination of its axes with every seed, and write CSV, Markdown and a page.

    Cells that are finished are never run again, also when another table has run them: kill it, start it again. First
    the rates that the file leaves open are tuned, on validation, with a seed of their own. The files are in a folder of
    the file's name: table.csv (a line a run), summary.csv (a line a cell), tuning.csv, seconds.csv, table.md and
    table.html. How to write a file of your own: docs/tables.md.

    [bold]Examples[/]

      fgl table experiments/tables/skew.toml --dry-run

      fgl table experiments/tables/skew.toml --jobs 2

      fgl table experiments/tables/skew.toml --only "method=FGL, one shot" --only "skew=beta 0.01"

      fgl table experiments/tables/skew.toml --set private-images=300 --set images-per-class=20 --runs-dir runs/try
    """
    quiet(verbose=False)
    with errors_as_sentences(verbose=False):
        read = Table.load(file, overrides(set_))
        chosen = chosen_cells(read, only or [])
        runs_dir = runs_dir.expanduser().resolve()
        cells = Cells(runs_dir / "cells")
        if dry_run:
            _show_plan(read, chosen, cells, runs_dir)
            _print_published(read)
            _look([read.config(cell, read.seeds[0], {}, runs_dir) for cell in chosen], file)
            return
        try:
            failed = run_cells(read, chosen, cells, jobs or os.cpu_count() or 1, runs_dir)
        except KeyboardInterrupt:
            errors.print("fgl: interrupted; the same command goes on where it stopped", style="red")
            sys.exit(EXIT_INTERRUPTED)
        from fgl_flower.report.table.page import write_table_page  # imports matplotlib

        command = shlex.join(["fgl", "table", str(file), *(part for text in set_ or [] for part in ("--set", text))])
        report = _report(read, cells, runs_dir, command)
        folder = runs_dir / read.name
        folder.mkdir(parents=True, exist_ok=True)
        write_files(read, report.rows, _tried(read, cells, runs_dir), folder, report.command)
        show(_shown(read, report))
        _print_published(read)
        _print_problems(report)
        if note := revisions(report.rows):
            console.print(note, soft_wrap=True, highlight=False)
        console.print(f"page: {write_table_page(report, folder / 'table.html')}", soft_wrap=True, highlight=False)
    if failed:
        first = next(iter(cells.failures.values()))
        message = f"fgl: {failed} runs failed, the first because {first}; the table's page and Markdown name them all"
        errors.print(message, style="red", markup=False, highlight=False)
        raise typer.Exit(EXIT_FAILED)


def chosen_cells(table: Table, only: list[str]) -> list[Cell]:
    """Return the cells that `--only` names; all without any.

    Raises
    ------
    ConfigError
        If it names no axis or no value of one.
    """
    wanted: dict[int, set[str]] = {}
    for text in only:
        axis, _, name = text.partition("=")
        if axis not in table.axes:
            raise ConfigError(f"--only {text}: write AXIS=VALUE; the axes are {', '.join(table.axes)}")
        place = table.axes.index(axis)
        known = dict.fromkeys(cell.names[place] for cell in table.cells)
        if name not in known:
            raise ConfigError(f"--only {text}: {axis} is one of {', '.join(map(repr, known))}")
        wanted.setdefault(place, set()).add(name)
    return [cell for cell in table.cells if all(cell.names[place] in names for place, names in wanted.items())]


def run_cells(table: Table, chosen: list[Cell], cells: Cells, jobs: int, runs_dir: Path) -> int:
    """Run what is missing, tuning first; return how many runs failed."""
    tuning = [config for cell in chosen for _, config in table.tuning(cell, runs_dir)]
    final = [table.config(cell, seed, {}, runs_dir) for cell in chosen for seed in table.seeds]
    if missing := [config for config in different([*tuning, *final]) if not cells.get(config)]:
        with console.status("looking for data and models"):
            from fgl_flower.preflight import preflight

            for config in missing:  # all of them before the first one starts
                preflight(config)
        for note in filter(None, map(cells.note, missing)):
            console.print(note, soft_wrap=True, markup=False, highlight=False)
    total = len(different(tuning)) + len(different(final))
    with _progress(table.title, total) as (report_progress, done), Workers(jobs, report_progress) as workers:

        def run(configs: list[RunConfig]) -> None:
            for config in different(configs):
                if cells.get(config):
                    done(config, False)
            cells.run(configs, workers, lambda config: done(config, True))

        run(tuning)
        known = [(cell, choice) for cell in chosen if (choice := tuned(table, cell, cells, runs_dir)) is not None]
        run([table.config(cell, seed, choice, runs_dir) for cell, choice in known for seed in table.seeds])
    return len(cells.failures)


def tuned(table: Table, cell: Cell, cells: Cells, runs_dir: Path) -> dict[str, float] | None:
    """Return the choice that did best, the first of equals; None if no tuning run is finished."""
    if not cell.tune:
        return {}
    best: tuple[float, dict[str, float]] | None = None
    for choice, config in table.tuning(cell, runs_dir):
        run = cells.get(config)
        accuracy = _criterion(run)
        if accuracy is not None and (best is None or accuracy > best[0]):
            best = accuracy, choice
    return best[1] if best else None


def _criterion(run: Run | None) -> float | None:
    """Return what a rate is chosen by: accuracy on validation, or on the clients' images where these select."""
    if run is None or run.result is None:
        return None
    selected = run.result.client_accuracy
    return run.result.validation_accuracy if selected is None else selected


def _tried(table: Table, cells: Cells, runs_dir: Path) -> list[dict[str, Any]]:
    return [
        {
            **dict(zip(table.axes, cell.names, strict=True)),
            **choice,
            "validation_accuracy": "" if (accuracy := _criterion(run)) is None else accuracy,
            "failed": cells.failure(config),
        }
        for cell in table.cells
        for choice, config in table.tuning(cell, runs_dir)
        if (run := cells.get(config)) or cells.failure(config)
    ]


def _report(table: Table, cells: Cells, runs_dir: Path, command: str) -> TableReport:
    rows, others = [], table.published.shares() if table.published else {}
    for cell in table.cells:
        choice = tuned(table, cell, cells, runs_dir)
        configs = {} if choice is None else {s: table.config(cell, s, choice, runs_dir) for s in table.seeds}
        failures = {seed: why for seed, config in configs.items() if (why := cells.failure(config))}
        tuning = [(named(c), why) for c, config in table.tuning(cell, runs_dir) if (why := cells.failure(config))]
        if tuning and table.tune:
            failures[table.tune.seed] = "; ".join(f"tuning, {choice}: {why}" for choice, why in tuning)
        runs = {seed: run for seed, config in configs.items() if (run := cells.get(config))}
        rows.append(Row(cell.names, runs, failures, choice or {}, others.get(cell.names)))
    return TableReport(
        title=table.title,
        about=table.about,
        axes=table.axes,
        rows=tuple(rows),
        against=table.against,
        grid=table.tune.grid if table.tune and any(cell.tune for cell in table.cells) else {},
        command=command,
        published=table.published.source if table.published else "",
        differs=tuple(table.published.differs) if table.published else (),
    )


def _shown(table: Table, report: TableReport) -> RichTable:
    shown = RichTable(title=escape(table.title), title_justify="left")
    for axis in table.axes:
        shown.add_column(escape(axis))
    others = ("published, %",) if table.published else ()
    for heading in ("accuracy, %", *others, "seeds", "chosen"):
        shown.add_column(heading, justify="right", no_wrap=heading != "chosen")
    for row in report.rows:
        accuracies = [a for run in row.runs.values() if run.result and (a := run.result.accuracy) is not None]
        mean = interval(accuracies) if accuracies else None
        accuracy = plus_minus(mean) + mark(row) if mean else "failed" if row.failures else "–"
        beside = (published(row),) if table.published else ()
        shown.add_row(*map(escape, row.names), accuracy, *beside, str(len(accuracies)), named(row.tuned))
    return shown


def _print_published(table: Table) -> None:
    if table.published:
        lines = [f"published: {table.published.source}", *(f"differs here: {one}" for one in table.published.differs)]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_problems(report: TableReport) -> None:
    lines = [f"! {row.title}, {seeds}: {sentence}" for row in report.rows for seeds, sentence in row.problems()]
    for line in shortened(lines, PROBLEMS_SHOWN, "in the table's page and Markdown"):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _show_plan(table: Table, chosen: list[Cell], cells: Cells, runs_dir: Path) -> None:
    shown = RichTable(title=escape(table.title), title_justify="left")
    for heading in (*map(escape, table.axes), "tuning runs", "runs", "finished"):
        shown.add_column(heading)
    for cell in chosen:
        tuning = [config for _, config in table.tuning(cell, runs_dir)]
        choice = tuned(table, cell, cells, runs_dir)
        final = [] if choice is None else [table.config(cell, seed, choice, runs_dir) for seed in table.seeds]
        finished = sum(cells.get(config) is not None for config in (*tuning, *final))
        shown.add_row(*map(escape, cell.names), str(len(tuning)), str(len(table.seeds)), str(finished))
    show(shown)


def _look(configs: list[RunConfig], file: Path) -> None:
    with console.status("looking for data and models"):
        from experiments.planning.needs import look_all

        found = look_all(configs, file)
    show_missing(found, "the table could start: nothing was downloaded, written or asked")


@contextmanager
def _progress(title: str, total: int) -> Iterator[tuple[Any, Any]]:
    """Yield ``report_progress(run, phase, done, total)`` and ``done(config, ran)``: a bar for all, one for each run."""
    columns = (
        TextColumn("{task.description:<50.50}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    console.print(title, style="bold", markup=False, highlight=False)
    with Progress(*columns, console=console) as bars:
        whole = bars.add_task("runs", total=total, count=f"0/{total}")
        running: dict[str, TaskID] = {}
        ended = 0

        def report_progress(name: str, phase: str, done: int, total: int) -> None:
            if name not in running:
                running[name] = bars.add_task(name, total=total, count="")
            bars.update(
                running[name], description=f"  {name}: {phase}", completed=done, total=total, count=f"{done}/{total}"
            )

        def done(config: RunConfig, ran: bool) -> None:
            nonlocal ended
            ended += 1
            bars.update(whole, completed=ended, count=f"{ended}/{total}")
            if config.name in running:
                bars.remove_task(running.pop(config.name))
            if ran:
                bars.console.print(f"  {config.name}", highlight=False)

        yield report_progress, done
