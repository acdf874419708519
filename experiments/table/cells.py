"""Runs many configurations, as many at once as asked for, each at most once.

Workers are processes that stay: importing torch and Flower costs more than a small run. A cell that fails is reported
and the others go on; one that is finished already, by any earlier table, is taken as it is.
"""

import json
import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import ConfigError, ModelError, reason
from fgl_flower.records.reading import Run, read_run

Tell = Callable[[str, str, int, int], None]
"""(run, phase, done, total): how far a running cell is."""

_PLACES = {"name", "runs-dir", "store-dir", "tensorboard"}  # where things lie does not change what comes out
_FEDERATION = {"clients", "partition", "beta", "fraction", "rounds"}  # nor these a method without clients
_KILLED = "its process was killed (out of memory?)"


class Cells:
    """The finished runs of a folder, and the way to get more.

    Parameters
    ----------
    folder : Path
        Holds the run folders.
    """

    def __init__(self, folder: Path) -> None:
        self.failures: dict[str, str] = {}
        self._found: dict[str, Run] = {}
        for file in sorted(folder.glob("*/result.json")):
            try:
                run = read_run(file.parent)
            except ConfigError:
                continue  # a damaged folder, or one of another version: the cell is run again
            self._found.setdefault(_key(run.config), run)

    def get(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, wherever it lies and whatever its name.

        One whose images a generator drew that has since changed (retrained, or a hub's newer revision) does not count.
        """
        run = self._found.get(_key(config))
        return run if run is not None and _same_generator(run) else None

    def failure(self, config: RunConfig) -> str:
        """Return why the run of this configuration failed just now; empty if it did not."""
        return self.failures.get(_key(config), "")

    def run(self, configs: Iterable[RunConfig], workers: "Workers", done: Callable[[RunConfig], None]) -> None:
        """Run those configurations that are not finished, in this order as far as workers are free.

        `done` hears of every one that has ended, well or not.
        """
        wanted = {_key(config): config for config in different(configs) if self.get(config) is None}
        for key, outcome in workers.run(wanted):
            if isinstance(outcome, Path):
                self._found[key] = read_run(outcome)
            else:
                self.failures[key] = outcome
            done(wanted[key])


class Workers:
    """Processes that run configurations; started with the first one, used as a context manager.

    Parameters
    ----------
    jobs : int
        Processes, each with its share of the cores.
    tell : callable
        Hears how far each run is.
    """

    def __init__(self, jobs: int, tell: Tell) -> None:
        self.jobs = jobs
        self._tell = tell
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
            while waiting and len(running) < jobs:  # no more than run at once: what only waited is no suspect
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
        self._stack.enter_context(_listening(self._events, self._tell))
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
def _listening(events: "queue.Queue[Any]", tell: Tell) -> Iterator[None]:
    """Hand the workers' events on meanwhile."""

    def listen() -> None:
        while (event := events.get()) is not None:
            tell(*event)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        events.put(None)
        thread.join()


def different(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the configurations, of those that give the same result the first."""
    found: dict[str, RunConfig] = {}
    for config in configs:
        found.setdefault(_key(config), config)
    return list(found.values())


def _same_generator(run: Run) -> bool:
    drawn_by = [
        model["revision"] for model in (run.result.models if run.result else []) if model["role"] == "generator"
    ]
    return not drawn_by or drawn_by == [_revision(run.config.generator, run.config.generator_revision)]


@cache
def _revision(model_id: str, revision: str) -> str:
    from fgl_flower.foundation.generator import inspect

    try:
        return inspect(model_id, revision).revision
    except ModelError:
        return ""  # no longer there: the run that asks for it will say so


def _key(config: RunConfig) -> str:
    ignored = _PLACES | (_FEDERATION if config.method in METHODS_WITHOUT_CLIENTS else set())
    return json.dumps({k: v for k, v in config.to_flat().items() if k not in ignored}, sort_keys=True)


def _start() -> None:
    """Prepare a worker: quiet, and gone with the table that started it, even if that is killed."""
    from experiments.cli.terminal import quiet

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else Ctrl-C is but this run's failure, and the next one begins
    quiet(False)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def _work(keys: dict[str, Any], events: "queue.Queue[Sequence[Any]]") -> Path:
    from experiments.runner import run_folder

    config = RunConfig.parse(keys)
    return run_folder(
        config,
        command="fgl table",
        watch=lambda phase, done, total: events.put((config.name, phase, done, total)),
    )
