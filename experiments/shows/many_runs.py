"""Run many configurations through the normal `run`, each once, and put means with 95 % intervals beside each other."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.cli import find_finished
from experiments.terminal import console, progress_bars
from fgl_flower.config import RunConfig
from fgl_flower.report.intervals import interval
from fgl_flower.runs import Run, read_run


def finished(config: RunConfig) -> Run:
    """Return the finished run of a configuration, running it first where there is none."""
    if found := find_finished(config):
        return found
    from experiments.runner import run  # torch and Flower: only where something is left to run

    with progress_bars(config.name) as watch:
        return read_run(run(config, watch=watch))


def table(rows: Iterable[tuple[dict[str, str], Sequence[Run]]], figures: dict[str, Callable[[Run], float]]) -> None:
    """Print one JSON line a row: its names, and mean and half width of each figure over its runs."""
    for names, runs in rows:
        line: dict[str, Any] = {**names, "runs": len(runs)}
        for figure, read in figures.items():
            found = interval([read(run) for run in runs])
            line[figure] = [round(found.mean, 4), None if math.isnan(found.half) else round(found.half, 4)]
        console.print(json.dumps(line), soft_wrap=True, markup=False, highlight=False)


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


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return `--set KEY=VALUE` arguments as keys and values."""
    from experiments.options import value

    split = (pair.split("=", 1) for pair in pairs)
    return {key: value(text) for key, text in split}


def runs_dir(folder: Path) -> dict[str, Any]:
    """Return the keys that keep runs and the images that they share in one folder."""
    return {"runs-dir": str(folder), "store-dir": str(folder / "store")}
