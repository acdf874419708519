"""How `fgl` speaks: quiet libraries, progress bars, one sentence an error and a table of runs."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fgl_flower.errors import ConfigError, reason
from fgl_flower.records.reading import Run
from fgl_flower.report.formatting import human_bytes, human_seconds, percent

console = Console()
errors = Console(stderr=True, soft_wrap=True)

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


def quiet(verbose: bool) -> None:
    """Switch off telemetry, and the libraries' own chatter unless `verbose`. Call it before they are imported."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if verbose:
        return
    os.environ.setdefault("TQDM_DISABLE", "1")  # we draw our own bars
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    logging.getLogger("flwr").addFilter(_silent)  # a level would not last: Flower sets its own when imported


def _silent(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL


@contextmanager
def told_in_a_sentence(verbose: bool) -> Iterator[None]:
    """Turn errors into one sentence on stderr and an exit code: 2 bad input, 1 a failed run; 130 when interrupted."""
    try:
        yield
    except ConfigError as error:
        errors.print(f"fgl: {error}", style="red", markup=False, highlight=False)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        errors.print("fgl: interrupted", style="red")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if verbose:
            errors.print_exception()
        told = "; ".join([reason(error), *getattr(error, "__notes__", [])])
        errors.print(f"fgl: the run failed: {told}", style="red", markup=False, highlight=False)
        sys.exit(EXIT_FAILED)


@contextmanager
def progress_bars(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``watch(phase, done, total)``, which draws one bar a phase; plain lines where there is no terminal."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console.print(title, style="bold", markup=False, highlight=False)
    with Progress(*columns, console=console, transient=False) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total)

        yield watch


def run_table(runs: Sequence[Run]) -> Table:
    """Return the figures of runs, one a row: accuracy on test and validation, images drawn, bytes, wall time."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("run", no_wrap=True)
    for heading in ("test", "valid.", "rounds", "drawn", "up/client", "all bytes", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    best = max((run.result.accuracy for run in runs if run.result), default=0.0)
    for run in runs:
        result = run.result
        if result is None:
            table.add_row(run.name, run.state, style="red")
            continue
        table.add_row(
            run.name,
            percent(result.accuracy),
            percent(result.validation_accuracy),
            str(result.rounds),
            f"{result.synthetic_images:,}",
            human_bytes(result.bytes_up_per_client),
            human_bytes(result.bytes_total),
            human_seconds(result.seconds.get("total", sum(result.seconds.values()))),
            style="bold" if result.accuracy == best and len(runs) > 1 else None,
        )
    return table
