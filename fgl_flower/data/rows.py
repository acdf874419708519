"""Some rows of a data set, cheap to name: `datasets` takes milliseconds to select, and a simulation selects often.

Nor is it imported before a data set is asked for: that takes most of a second, in each new process of a node.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import datasets

__all__ = ["FileTable", "Rows", "Table", "column", "column_values"]

_READ_AT_ONCE = 512  # images as they are stored, in memory


def column(dataset: "datasets.Dataset", name: str) -> np.ndarray:
    """Return a column of whole numbers, (n,) int64, without making a Python object of each row."""
    return np.array(_column(dataset, name), dtype=np.int64)


def column_values(dataset: "datasets.Dataset", name: str) -> list[Any]:
    """Return the values of a column, None where one is missing, at once: `datasets` goes from row to row."""
    return _column(dataset, name).to_pylist()


def _column(dataset: "datasets.Dataset", name: str) -> Any:
    return dataset.select_columns([name]).with_format("arrow")[:].column(0)


class Table:
    """A data set whose labels, domains and undecoded images are at hand.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns image, label and, where domains are known, domain.
    """

    def __init__(self, dataset: "datasets.Dataset") -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def dataset(self) -> "datasets.Dataset":
        """All rows."""
        return self._dataset

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of each image, (n,) int64."""
        return column(self.dataset, "label")

    @cached_property
    def domains(self) -> np.ndarray:
        """Domain of each image, (n,) int64; -1 where it is unknown."""
        if "domain" not in self.dataset.column_names:
            return np.full(len(self), -1, dtype=np.int64)
        return column(self.dataset, "domain")

    def records(self, index: np.ndarray) -> list[dict[str, Any]]:
        """Return the images at these positions as they are stored: {"bytes", "path"} each."""
        return self._raw[index]["image"] if len(index) else []

    @cached_property
    def _raw(self) -> "datasets.Dataset":
        import datasets

        return self.dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))


class FileTable(Table):
    """Images in files; they become a data set when one is asked for.

    Parameters
    ----------
    files : sequence of Path
    labels, domains : numpy.ndarray
        (n,) int64 each.
    classes, domain_names : sequence of str
        Names of the labels and domains.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: np.ndarray,
        domains: np.ndarray,
        classes: Sequence[str],
        domain_names: Sequence[str],
    ) -> None:
        self._files = [str(file) for file in files]
        self._names = classes, domain_names
        self.labels = labels
        self.domains = domains

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def dataset(self) -> "datasets.Dataset":
        """All rows."""
        import datasets

        from fgl_flower.data.folders import features

        columns = {"image": self._files, "label": self.labels, "domain": self.domains, "caption": [""] * len(self)}
        return datasets.Dataset.from_dict(columns, features=features(*self._names))

    def records(self, index: np.ndarray) -> list[dict[str, Any]]:
        """Return the images at these positions as they are stored: {"bytes", "path"} each."""
        return [{"bytes": None, "path": self._files[i]} for i in index.tolist()]


class Rows:
    """Rows of a table.

    Parameters
    ----------
    table : Table
    index : numpy.ndarray
        Positions in the table, (n,) int64.
    """

    def __init__(self, table: Table, index: np.ndarray) -> None:
        self.table = table
        self.index = index

    @classmethod
    def of(cls, dataset: "datasets.Dataset") -> Self:
        """Return all rows of a data set."""
        return cls.all_of(Table(dataset))

    @classmethod
    def all_of(cls, table: Table) -> Self:
        """Return all rows of a table."""
        return cls(table, np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> np.ndarray:
        """Class of each image, (n,) int64."""
        return self.table.labels[self.index]

    @property
    def domains(self) -> np.ndarray:
        """Domain of each image, (n,) int64; -1 where it is unknown."""
        return self.table.domains[self.index]

    @cached_property
    def dataset(self) -> "datasets.Dataset":
        """The rows as a data set."""
        return self.table.dataset.select(self.index)

    def records(self) -> list[dict[str, Any]]:
        """Return the images as they are stored: {"bytes", "path"} each."""
        return self.table.records(self.index)

    def stream(self) -> Iterator[dict[str, Any]]:
        """Yield the images as they are stored, of which only some are in memory."""
        for start in range(0, len(self), _READ_AT_ONCE):
            yield from self.table.records(self.index[start : start + _READ_AT_ONCE])

    def select(self, positions: Sequence[int] | np.ndarray) -> "Rows":
        """Return the rows at these positions among them."""
        return Rows(self.table, self.index[np.asarray(positions, dtype=np.int64)])
