"""Some rows of a data set, cheap to name: `datasets` takes milliseconds to select, and a simulation selects often.

Nor is it imported before a data set is asked for: that takes most of a second, in each new process of a node.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fgl_flower.data.paths import Files
from fgl_flower.data.tables import dataset_of

if TYPE_CHECKING:
    import datasets

__all__ = ["FileTable", "Rows", "Table", "arrow_column", "column", "with_columns"]

_READ_AT_ONCE = 512  # images as they are stored, in memory


def column(dataset: "datasets.Dataset", name: str) -> np.ndarray:
    """Return a column of whole numbers, (n,) int64, without making a Python object of each row.

    Of numbers in one block it is a view, read-only.
    """
    return np.asarray(arrow_column(dataset, name).to_numpy(), dtype=np.int64)


def arrow_column(dataset: "datasets.Dataset", name: str) -> Any:
    """Return a column as a `pyarrow.ChunkedArray`, of a mapped file without reading it."""
    return dataset.select_columns([name]).with_format("arrow")[:].column(0)


def with_columns(
    dataset: "datasets.Dataset", columns: Mapping[str, Any], features: "datasets.Features"
) -> "datasets.Dataset":
    """Return a data set with columns replaced or added, and no others than those of `features`.

    `datasets` itself would write all images anew, as its `cast` does.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns that are kept have their type already.
    columns : mapping of str to array
        (n,) each: of NumPy or Arrow.
    features : datasets.Features
        All columns of the result, in order.
    """
    import datasets
    import pyarrow as pa

    kept = dataset.select_columns([name for name in features if name not in columns])
    types = datasets.Features({name: features[name] for name in features if name in columns})
    schema = types.arrow_schema
    given = {
        name: values if isinstance(values, pa.ChunkedArray) else pa.array(values, schema.field(name).type)
        for name, values in columns.items()
    }
    made = dataset_of([given[name] for name in types], types)
    return datasets.concatenate_datasets([kept, made], axis=1).select_columns(list(features))


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
    files : Files
    classes, domain_names : sequence of str
        Names of the labels and domains.
    """

    def __init__(self, files: Files, classes: Sequence[str], domain_names: Sequence[str]) -> None:
        self._files = files
        self._names = classes, domain_names
        self.labels = files.labels
        self.domains = files.domains

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def dataset(self) -> "datasets.Dataset":
        """All rows."""
        from fgl_flower.data.folders import features

        return self._files.dataset(features(*self._names))

    def records(self, index: np.ndarray) -> list[dict[str, Any]]:
        """Return the images at these positions as they are stored: {"bytes", "path"} each."""
        return [{"bytes": None, "path": self._files.paths[i]} for i in index.tolist()]


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
