"""How `fgl` speaks: quiet libraries, progress bars, one sentence an error, tables that are never cut."""

import io
import logging
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
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
from fgl_flower.records.run_folder import CLIENT_ERRORS
from fgl_flower.report.formatting import human_bytes, human_seconds, percent
from fgl_flower.report.notes import notes
from fgl_flower.report.privacy import promise
from fgl_flower.report.problems import Problems

console = Console()
errors = Console(stderr=True, soft_wrap=True)

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
UNLIMITED = 100_000  # columns where there is no terminal: a file or pipe has no width
NAME_WIDTH = 12  # columns that text keeps beside figures, however narrow the terminal


class _Patient(io.FileIO):
    """A stream whose reader may have left or its disk be full: what cannot be printed is dropped, the run goes on."""

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        try:
            while (written := super().write(data)) is None:  # not blocking, and its reader is slow
                select.select([], [self], [])
        except OSError:
            return size
        return written


def prepare_output() -> None:
    """Make printing unable to end a run, whatever the encoding and the reader. Call it once, first."""
    sys.stdout, sys.stderr = (_unfailing(stream) for stream in (sys.stdout, sys.stderr))
    if not console.file.isatty():
        console.width = UNLIMITED


def _unfailing(stream: TextIO) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):  # None if closed from the start
        stream.reconfigure(errors="backslashreplace")
        if type(getattr(stream.buffer, "raw", stream.buffer)) is io.FileIO:  # the buffer itself under PYTHONUNBUFFERED
            raw = _Patient(stream.fileno(), "w", closefd=False)
            lines = stream.line_buffering or stream.write_through
            return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, "backslashreplace", line_buffering=lines)
    return stream


def quiet(verbose: bool) -> None:
    """Switch off telemetry, and the libraries' own chatter unless `verbose`. Call it before they are imported."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if verbose:
        return
    os.environ.setdefault("TQDM_DISABLE", "1")  # we draw our own bars
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    logging.getLogger("flwr").addFilter(_silent)  # a level would not last: Flower sets its own when imported


def _silent(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL


@contextmanager
def errors_as_sentences(verbose: bool) -> Iterator[None]:
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
        print_failure(error, verbose)
        sys.exit(EXIT_FAILED)


def print_failure(error: Exception, verbose: bool) -> None:
    """Say on stderr why a run failed."""
    if verbose:
        errors.print_exception()
    message = "; ".join([reason(error), *getattr(error, "__notes__", [])])
    errors.print(f"fgl: the run failed: {message}", style="red", markup=False, highlight=False)


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


def show(table: Table) -> None:
    """Print a table with nothing cut: text is folded, and figures (columns that do not wrap) stay whole.

    On a terminal that is too narrow for the figures the lines are longer than the terminal.
    """
    ruler = Console(width=UNLIMITED)
    least = ruler.measure(table).maximum
    for column in table.columns:
        column.overflow = "fold"
        if not column.no_wrap:
            widest = max(ruler.measure(cell).maximum for cell in (column.header, *column.cells))
            least -= max(0, widest - NAME_WIDTH)
    Console(width=max(console.width, least)).print(table)  # `console` prints nothing wider than its terminal


def show_runs(runs: Sequence[Run]) -> None:
    """Print the figures of runs and, below, what a reader of these must know: failed clients, warnings and so on."""
    show(run_table(runs))
    for run in runs:
        for text in filter(None, [*notes(run.result), promise(run.result)]) if run.result else ():
            console.print(f"{run.name}: {text}", markup=False, highlight=False, soft_wrap=True)
        sentences = Problems.of(run).sentences()
        if (whole := run.path / CLIENT_ERRORS).exists():
            sentences.append(f"the clients' whole errors: {whole}")
        for sentence in sentences:
            console.print(f"! {run.name}: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def run_table(runs: Sequence[Run]) -> Table:
    """Return the figures of runs, one a row: accuracy on test and validation, images drawn, bytes, wall time.

    A run with problems has a mark.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("run")
    table.add_column("", no_wrap=True)
    for heading in ("test", "valid.", "rounds", "drawn", "up/client", "all bytes", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    best = max((run.result.accuracy or 0.0 for run in runs if run.result), default=0.0)
    for run in runs:
        result, name, mark = run.result, escape(run.name), "!" if Problems.of(run) else ""
        if result is None:
            table.add_row(name, mark, run.state, style="red")
            continue
        table.add_row(
            name,
            mark,
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
