"""Run many configurations through the normal `run`, each once, and put means with 95 % intervals beside each other."""

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.cli.app import find_finished
from experiments.cli.options import overrides
from experiments.cli.terminal import console, progress_bars
from fgl_flower.config import RunConfig
from fgl_flower.records.reading import Run, read_run
from fgl_flower.report.intervals import Interval, interval


def options(show: str, about: str | None) -> argparse.ArgumentParser:
    """Return a show's command line with what all of them take: `--seeds`, `--runs-dir` and `--set`."""
    parser = argparse.ArgumentParser(prog=f"python -m experiments.shows.{show}", description=about)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs") / show.replace("_", "-"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every run")
    return parser


def keys(given: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that a command line gives to every run; the runs share one store."""
    folders = {"runs-dir": str(given.runs_dir), "store-dir": str(given.runs_dir / "store")}
    return {**folders, **overrides(given.set)}


def finished(config: RunConfig) -> Run:
    """Return the finished run of a configuration, running it first where there is none."""
    if found := find_finished(config):
        return found
    from experiments.runner import run_folder  # torch and Flower: only where something is left to run

    with progress_bars(config.name) as watch:
        return read_run(run_folder(config, watch=watch))


def table(
    rows: Iterable[tuple[dict[str, str], Callable[[int], RunConfig]]],
    seeds: int,
    figures: Mapping[str, Callable[[Run], float]],
) -> None:
    """Run every row under each seed and print it as one JSON line.

    Parameters
    ----------
    rows : iterable of (dict, callable)
        What the line says of the row, and its configuration by seed.
    seeds : int
        Seeds 0 to `seeds` - 1.
    figures : mapping of str to callable
        Read from each run; the line holds mean and half width of each.
    """
    for names, configured in rows:
        runs = [finished(configured(seed)) for seed in range(seeds)]
        line: dict[str, Any] = {**names, "runs": len(runs)}
        for figure, read in figures.items():
            line[figure] = mean_and_half(interval([read(run) for run in runs]))
        tell(line)


def mean_and_half(found: Interval) -> list[float | None]:
    """Return mean and half width as JSON can hold them: a single run has no width."""
    return [found.mean, None if math.isnan(found.half) else found.half]


def tell(line: dict[str, Any]) -> None:
    """Print one line of JSON, numbers to four places."""
    rounded = json.loads(json.dumps(line), parse_float=lambda text: round(float(text), 4))
    console.print(json.dumps(rounded), soft_wrap=True, markup=False, highlight=False)


def accuracy(run: Run) -> float:
    """Return the accuracy on the test split."""
    assert run.result is not None
    return run.result.accuracy


def bytes_up(run: Run) -> float:
    """Return the bytes that a client sent, on average."""
    assert run.result is not None
    return run.result.bytes_up_per_client


def bytes_once(run: Run) -> float:
    """Return the bytes that a client downloaded once, on average."""
    assert run.result is not None
    return run.result.bytes_once_per_client
