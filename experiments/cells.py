"""Runs many configurations, as many at once as asked for, each at most once.

Workers are processes that stay: importing torch and Flower costs more than a small run. A cell that fails is reported
and the others go on; one that is finished already, by any earlier table, is taken as it is.
"""

import json
import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import ConfigError, reason
from fgl_flower.runs import Run, read_run

Tell = Callable[[str, str, int, int], None]
"""(run, phase, done, total): how far a running cell is."""

_PLACES = {"name", "runs-dir", "store-dir", "tensorboard"}  # where things lie does not change what comes out
_FEDERATION = {"clients", "partition", "beta", "fraction", "rounds"}  # nor these a method without clients
_ATTEMPTS = 2  # a worker that is killed (out of memory) takes its neighbours with it: they are tried once more


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
        """Return the finished run of a configuration, wherever it lies and whatever its name."""
        return self._found.get(_key(config))

    def failure(self, config: RunConfig) -> str:
        """Return why the run of this configuration failed just now; empty if it did not."""
        return self.failures.get(_key(config), "")

    def run(self, configs: Iterable[RunConfig], jobs: int, tell: Tell, done: Callable[[RunConfig], None]) -> None:
        """Run those configurations that are not finished.

        Parameters
        ----------
        configs : iterable of RunConfig
            In the order in which they are started.
        jobs : int
            Runs at once, each with its share of the cores.
        tell : callable
            Hears of the progress of each.
        done : callable
            Hears of every configuration that has ended, well or not.
        """
        wanted = {_key(config): config for config in different(configs) if self.get(config) is None}
        for _ in range(_ATTEMPTS):
            for key in self._round(wanted, jobs, tell, done):
                del wanted[key]
            if not wanted:
                return
        for key, config in wanted.items():
            self.failures[key] = "its process was killed (out of memory?)"
            done(config)

    def _round(
        self, wanted: dict[str, RunConfig], jobs: int, tell: Tell, done: Callable[[RunConfig], None]
    ) -> list[str]:
        """Return the keys of the configurations that have ended; the rest were lost with a worker."""
        ended: list[str] = []
        context = multiprocessing.get_context("spawn")
        before = os.environ.get("OMP_NUM_THREADS")  # read when a worker imports torch; the user's own word counts
        os.environ["OMP_NUM_THREADS"] = before or str(max(1, (os.cpu_count() or 1) // jobs))
        try:
            with context.Manager() as manager, ProcessPoolExecutor(jobs, context, _start) as pool:
                events = manager.Queue()
                futures: dict[Future[Path], str] = {
                    pool.submit(_work, config.to_flat(), events): key for key, config in wanted.items()
                }
                with _listening(events, tell):
                    for future in as_completed(futures):
                        key = futures[future]
                        try:
                            self._found[key] = read_run(future.result())
                        except BrokenProcessPool:
                            continue
                        except Exception as error:
                            self.failures[key] = reason(error)
                        ended.append(key)
                        done(wanted[key])
        finally:
            os.environ.pop("OMP_NUM_THREADS")
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        return ended


class _listening:  # noqa: N801  # used like a function
    """Hands the workers' events on while the block lasts."""

    def __init__(self, events: "queue.Queue[Any]", tell: Tell) -> None:
        self._events = events
        self._thread = threading.Thread(target=self._listen, args=(tell,), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._events.put(None)
        self._thread.join()

    def _listen(self, tell: Tell) -> None:
        while (event := self._events.get()) is not None:
            tell(*event)


def different(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the configurations, of those that give the same result the first."""
    found: dict[str, RunConfig] = {}
    for config in configs:
        found.setdefault(_key(config), config)
    return list(found.values())


def _key(config: RunConfig) -> str:
    ignored = _PLACES | (_FEDERATION if config.method in METHODS_WITHOUT_CLIENTS else set())
    return json.dumps({k: v for k, v in config.to_flat().items() if k not in ignored}, sort_keys=True)


def _start() -> None:
    """Prepare a worker: quiet, and gone with the table that started it, even if that is killed."""
    from experiments.terminal import quiet

    quiet(False)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def _work(keys: dict[str, Any], events: "queue.Queue[Sequence[Any]]") -> Path:
    from experiments.runner import run

    config = RunConfig.parse(keys)
    return run(
        config,
        command="fgl table",
        watch=lambda phase, done, total: events.put((config.name, phase, done, total)),
    )
