"""Worker processes that run configurations, as many at once as asked for.

They stay from run to run: importing torch and Flower costs more than a small run. One that is killed is reported and
the others go on.
"""

import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from fgl_flower.config import RunConfig
from fgl_flower.errors import reason
from fgl_flower.interrupts import caught, leave, received

ReportProgress = Callable[[str, str, int, int], None]
"""(run, phase, done, total): how far a running cell is."""

_KILLED = "its process was killed (out of memory?)"


class Workers:
    """Processes that run configurations; started with the first one, used as a context manager.

    Parameters
    ----------
    jobs : int
        Processes, each with its share of the cores.
    report_progress : callable
        Hears how far each run is.
    """

    def __init__(self, jobs: int, report_progress: ReportProgress) -> None:
        self.jobs = jobs
        self._report_progress = report_progress
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if received() and self._pool is not None:  # they would finish their runs first
            for process in list(self._pool._processes.values()):
                process.terminate()
        self.close()

    def run(self, wanted: Mapping[str, RunConfig]) -> Iterator[tuple[str, Path | str]]:
        """Yield key and run folder, or the reason of a failure, as they end.

        A worker that is killed takes the runs beside it with it: each of these is tried once more, alone.
        """
        waiting = deque(wanted)
        while waiting:
            for key in (yield from self._side_by_side(wanted, waiting, self.jobs)):
                if (yield from self._side_by_side(wanted, deque([key]), 1)):
                    yield key, _KILLED

    def _side_by_side(
        self, wanted: Mapping[str, RunConfig], waiting: deque[str], jobs: int
    ) -> Generator[tuple[str, Path | str], None, list[str]]:
        """Yield what ends until nothing waits or a worker is killed; return the keys that were running then."""
        running: dict[Future[Path], str] = {}
        lost: list[str] = []
        while (waiting or running) and not lost:
            pool = self._pool or self._open()
            while waiting and len(running) < jobs:  # at most `jobs`: only a run that has started can have killed it
                try:
                    future = pool.submit(_work, wanted[waiting[0]].to_flat(), self._events)
                except BrokenProcessPool:  # an idle worker was killed
                    break
                running[future] = waiting.popleft()
            if not running:
                self.close()
                continue
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                key = running.pop(future)
                try:
                    yield key, future.result()
                except BrokenProcessPool:
                    lost.append(key)
                except Exception as error:
                    yield key, reason(error)
        if lost:
            self.close()
        return [*lost, *running.values()]

    def close(self) -> None:
        """End the processes; the next run starts others."""
        self._stack.close()
        self._pool = None

    def _open(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        manager = self._stack.enter_context(context.Manager())
        self._events = manager.Queue()
        self._stack.enter_context(_listening(self._events, self._report_progress))
        self._stack.enter_context(_threads(max(1, (os.cpu_count() or 1) // self.jobs)))
        self._pool = self._stack.enter_context(ProcessPoolExecutor(self.jobs, context, _start))
        return self._pool


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Tell workers started meanwhile how many threads torch may use; the user's own word counts more."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


@contextmanager
def _listening(events: "queue.Queue[Any]", report_progress: ReportProgress) -> Iterator[None]:
    """Hand the workers' events on meanwhile."""

    def listen() -> None:
        with suppress(EOFError, OSError):  # the queue's process was killed
            while (event := events.get()) is not None:
                report_progress(*event)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(EOFError, OSError):
            events.put(None)
        thread.join()


def _start() -> None:
    """Prepare a worker: quiet, and gone with the table that started it, even if that is killed."""
    from experiments.cli.terminal import quiet

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the table too, which ends its workers
    quiet(False)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        leave(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(keys: dict[str, Any], events: "queue.Queue[Sequence[Any]]") -> Path:
    from experiments.runner import run_folder

    config = RunConfig.parse(keys)
    with caught():
        return run_folder(
            config,
            command="fgl table",
            watch=lambda phase, done, total: events.put((config.name, phase, done, total)),
        )
