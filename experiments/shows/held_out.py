"""What a generator can be taught that it never saw, read from the finished runs of a table.

fgl table experiments/tables/held-out-classes.toml
python -m experiments.shows.held_out experiments/tables/held-out-classes.toml

Learned tokens against words, on the two classes or on the style that the built-in world's public split does not show.
Printed is a JSON line a cell: the accuracy on test images of the held-out classes (among all twelve), or of the
held-out style, of a classifier trained on synthetic images only; mean and half width of the 95 % interval.
"""

import argparse
from pathlib import Path
from statistics import fmean

from experiments.cli.options import overrides
from experiments.shows.lines import mean_and_half, print_line
from experiments.table.cells import Cells
from experiments.table.spec import Table
from fgl_flower.data.world import HELD_OUT_CLASSES, HELD_OUT_STYLE
from fgl_flower.records.reading import Run
from fgl_flower.report.intervals import interval


def held_out(run: Run) -> float:
    """Return the accuracy on what the generator never saw."""
    assert run.result is not None
    if run.config.dataset == "world-held-out-style":
        return run.result.accuracy_by_domain[HELD_OUT_STYLE] or 0.0
    return fmean(run.result.accuracy_by_class[name] or 0.0 for name in HELD_OUT_CLASSES)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="experiments/tables/held-out-classes.toml or held-out-style.toml")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/tables"), help="as given to fgl table")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as given to fgl table")
    given = parser.parse_args()
    runs_dir = given.runs_dir.expanduser().resolve()
    table, finished = Table.load(given.table, overrides(given.set)), Cells(runs_dir / "cells")
    for cell in table.cells:
        runs = [finished.get(table.config(cell, seed, {}, runs_dir)) for seed in table.seeds]
        if None in runs:
            parser.error(f"not every run of {' · '.join(cell.names)} is finished: run `fgl table {given.table}` first")
        shares = [held_out(run) for run in runs if run is not None]
        print_line(
            {"prompts": cell.names[0], "runs": len(shares), "held_out_accuracy": mean_and_half(interval(shares))}
        )


if __name__ == "__main__":
    main()
