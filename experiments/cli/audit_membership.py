"""`fgl audit membership`: shadow runs of a table's methods, and what attacks on their models find."""

import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

from experiments.cli.options import SetOption, overrides
from experiments.cli.terminal import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    console,
    errors,
    errors_as_sentences,
    progress_bars,
    quiet,
    show,
)


def membership(
    file: Annotated[Path, typer.Argument(help="A table's file (see experiments/tables).", metavar="FILE")],
    models: Annotated[int, typer.Option("--models", "-m", min=6, help="Runs of each method, an even number.")] = 64,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Runs at once; 0: as many as there are cores.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="AXIS=VALUE", help="Audit these methods only (repeatable).")
    ] = None,
    set_: SetOption = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder of all tables, their cells and their store.")] = Path(
        "runs/tables"
    ),
) -> None:
    """Attack the released models: can who has a model tell which images it was trained on?

    Runs each method of a table on many halves of the private images (finished runs are not run again, Ctrl-C and the
    same command goes on) and attacks the model of each with the others as shadow models: LiRA, online and offline, and
    RMIA. Prints the true positive rate at 0.1 % and 1 % false positives with its 95 % interval, of all images, of
    canaries (canaries = N in the file: so many wrong labels) and of the hardest. With keep-models = N the attacker also
    has the global models of every N-th round, as a curious server has. Rates are tuned as in fgl table, before, on all
    images.

    The file has one seed. Writes membership.json, membership.csv and membership.html into a folder of the file's name;
    an audit of some of the methods (--only) leaves there what others of the same keys found.

    [bold]Examples[/]

      fgl audit membership experiments/tables/membership.toml

      fgl audit membership experiments/tables/membership.toml --only method=tokens --models 8
    """
    quiet(False)
    with errors_as_sentences(verbose=False):
        from experiments.audit.membership import GROUPS, audit, shadow_table
        from experiments.audit.membership_page import HEADINGS, headline, lines, notes, plain, write
        from experiments.audit.recording import record
        from experiments.cli.table import chosen_cells, run_cells, tuned
        from experiments.table.cells import Cells
        from experiments.table.spec import Table

        table = Table.load(file, overrides(set_))
        table = replace(table, cells=tuple(asked := chosen_cells(table, only or [])))
        runs_dir, jobs = runs_dir.expanduser().resolve(), jobs or os.cpu_count() or 1
        shadow_table(table, [{}] * len(table.cells), models)  # what it refuses is refused before anything is tuned
        cells = Cells(runs_dir / "cells")
        try:
            failed = 0
            if any(cell.tune for cell in table.cells):
                failed = run_cells(replace(table, seeds=()), list(table.cells), cells, jobs, runs_dir)
            known = [(c, choice) for c in table.cells if (choice := tuned(table, c, cells, runs_dir)) is not None]
            choices = [choice for _, choice in known]
            table = replace(table, cells=tuple(cell for cell, _ in known))
            shadows = shadow_table(table, choices, models)
            failed += run_cells(shadows, list(shadows.cells), cells, jobs, runs_dir)
        except KeyboardInterrupt:
            errors.print("fgl: interrupted; the same command goes on where it stopped", style="red")
            sys.exit(EXIT_INTERRUPTED)
        found = []
        with progress_bars("attacks") as watch:
            for i, cell in enumerate(table.cells):
                halves = shadows.cells[i * models : (i + 1) * models]
                configs = [shadows.config(half, shadows.seeds[0], {}, runs_dir) for half in halves]
                runs = [run for config in configs if (run := cells.get(config)) is not None]
                if len(runs) == models:
                    name = " · ".join(cell.names)
                    found += (own := audit(name, runs, partial(watch, name)))
                    whole = cells.get(table.config(cell, table.seeds[0], choices[i], runs_dir))
                    for run in [runs[0], *([whole] if whole else [])]:
                        record(run.path, "membership", *headline(own[0]))
        settings = [part for text in set_ or [] for part in ("--set", text)]
        command = shlex.join(["fgl", "audit", "membership", str(file), *settings])
        page = write(found, runs_dir / f"{table.name}-audit", f"Membership: {table.title}", command)
        for group in GROUPS:
            if rows := lines(list(map(plain, found)), group):
                shown = RichTable(title=group, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
                for heading in HEADINGS:
                    shown.add_column(heading)
                for row in rows:
                    shown.add_row(*map(escape, row))
                show(shown)
        for note in notes(list(map(plain, found))):
            console.print(note, soft_wrap=True, markup=False, highlight=False)
        console.print(f"page: {page}", soft_wrap=True, highlight=False)
    if failed:
        first = next(iter(cells.failures.values()))
        left_out = [name for cell in asked if (name := " · ".join(cell.names)) not in {one.method for one in found}]
        without = f"; not audited for want of runs: {', '.join(left_out)}" if left_out else ""
        errors.print(f"fgl: {failed} runs failed, the first because {first}{without}", markup=False, highlight=False)
        raise typer.Exit(EXIT_FAILED)
