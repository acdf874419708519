"""A table of runs as its page reads it: axes, rows of runs that differ by seed, columns, methods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fgl_flower.records.reading import Run
from fgl_flower.records.result import Result
from fgl_flower.report.formatting import seeds_text
from fgl_flower.report.problems import Problems


@dataclass(frozen=True)
class Row:
    """Runs that differ by seed only.

    Attributes
    ----------
    names : tuple of str
        A value for each axis, in the order of `TableReport.axes`.
    runs : mapping of int to Run
        Finished runs by seed; empty where all failed or none ran yet.
    failures : mapping of int to str
        Reason by seed, that of tuning included.
    tuned : mapping of str to float
        Keys chosen on the validation split.
    published : float or None
        Accuracy that others have published for these settings, 0..1.
    """

    names: tuple[str, ...]
    runs: Mapping[int, Run]
    failures: Mapping[int, str]
    tuned: Mapping[str, float]
    published: float | None = None

    @property
    def results(self) -> dict[int, Result]:
        """Return the figures by seed, in the order of the seeds."""
        return {seed: run.result for seed, run in sorted(self.runs.items()) if run.result is not None}

    @property
    def accuracies(self) -> dict[int, float]:
        """Return the test accuracy by seed."""
        return {seed: result.accuracy for seed, result in self.results.items() if result.accuracy is not None}

    @property
    def with_others_work(self) -> bool:
        """Return whether a run took images or a one-shot model that an earlier run had made: its time lacks theirs."""
        return any(
            event.get("event") == "one-shot-model" or (event.get("event") == "synthesis" and event.get("reused"))
            for run in self.runs.values()
            for event in run.events
        )

    def problems(self, most: int = 1) -> list[tuple[str, str]]:
        """Return seeds and sentence for each problem of finished runs; `most`: details a sentence."""
        seeds: dict[str, list[int]] = {}
        for seed, run in sorted(self.runs.items()):
            for sentence in Problems.of(run).sentences(most):
                seeds.setdefault(sentence, []).append(seed)
        return [(seeds_text(those), sentence) for sentence, those in seeds.items()]

    @property
    def title(self) -> str:
        """Return all names in one."""
        return " · ".join(self.names)

    @property
    def title_across(self) -> str:
        """Return the names of all axes but the first in one; empty where there is one axis only."""
        return " · ".join(self.names[1:])


@dataclass(frozen=True)
class Column:
    """The rows that share the values of every axis but the first."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Return the values in one; empty where there is one axis only."""
        return " · ".join(self.names)


@dataclass(frozen=True)
class Method:
    """A value of the first axis with its number among the page's series."""

    name: str
    series: int


def methods_of(rows: Iterable[Row]) -> list[Method]:
    """Return the values of the first axis in order of appearance."""
    return [Method(name, number) for number, name in enumerate(dict.fromkeys(row.names[0] for row in rows))]


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """Return the combinations of the other axes in order of appearance."""
    keys = dict.fromkeys(row.names[1:] for row in rows)
    return [Column(key, tuple(row for row in rows if row.names[1:] == key)) for key in keys]


@dataclass(frozen=True)
class TableReport:
    """What the page of a table shows.

    Attributes
    ----------
    title : str
    about : str
        A paragraph of plain text.
    axes : tuple of str
        Names of the axes but "seed"; at least one. The first goes down the page's tables, the others across.
    rows : tuple of Row
    against : str
        Value of the first axis with which the others are compared, paired by seed; empty for none.
    grid : mapping of str to sequence of float
        What was tried in tuning; empty: nothing was tuned.
    command : str
        The command line that made the table.
    published : str
        Where the published figures of the rows stand; empty: there are none.
    differs : tuple of str
        What the table does otherwise than they did, a sentence each.
    """

    title: str
    about: str
    axes: tuple[str, ...]
    rows: tuple[Row, ...]
    against: str
    grid: Mapping[str, Sequence[float]]
    command: str
    published: str = ""
    differs: tuple[str, ...] = ()
