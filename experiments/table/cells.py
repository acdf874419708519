"""The cells of tables: what is finished, by any earlier table, is taken as it is; the rest is run, each once."""

from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.table.workers import Workers
from fgl_flower.config import RunConfig
from fgl_flower.records.finished import FinishedRuns, run_key
from fgl_flower.records.reading import Run


class Cells:
    """The finished runs of a folder, and the way to get more.

    Parameters
    ----------
    folder : Path
        Holds the run folders.
    """

    def __init__(self, folder: Path) -> None:
        self.failures: dict[str, str] = {}
        self._finished = FinishedRuns(folder)

    def get(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, wherever it lies and whatever its name."""
        return self._finished.get(config)

    def note(self, config: RunConfig) -> str:
        """Return why a run of this configuration that is there does not count; empty if there is none."""
        return self._finished.note(config)

    def failure(self, config: RunConfig) -> str:
        """Return why the run of this configuration failed just now; empty if it did not."""
        return self.failures.get(run_key(config), "")

    def run(self, configs: Iterable[RunConfig], workers: Workers, done: Callable[[RunConfig], None]) -> None:
        """Run those configurations that are not finished, in this order as far as workers are free.

        `done` hears of every one that has ended, well or not.
        """
        wanted = {run_key(config): config for config in different(configs) if self.get(config) is None}
        for key, outcome in workers.run(wanted):
            if isinstance(outcome, Path):
                self._finished.add(outcome)
            else:
                self.failures[key] = outcome
            done(wanted[key])


def different(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the configurations, of those that give the same result the first."""
    result: dict[str, RunConfig] = {}
    for config in configs:
        result.setdefault(run_key(config), config)
    return list(result.values())
