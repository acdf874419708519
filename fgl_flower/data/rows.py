"""Some rows of a data set, cheap to name: `datasets` takes milliseconds to select, and a simulation selects often."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import datasets
import numpy as np

__all__ = ["Rows", "Table"]


class Table:
    """A data set whose labels, domains and undecoded images are at hand.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns image, label and, where domains are known, domain.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def labels(self) -> np.ndarray:
        """Class of each image, (n,) int64."""
        return np.asarray(self.dataset["label"], dtype=np.int64)

    @cached_property
    def domains(self) -> np.ndarray:
        """Domain of each image, (n,) int64; -1 where it is unknown."""
        if "domain" not in self.dataset.column_names:
            return np.full(len(self), -1, dtype=np.int64)
        return np.asarray(self.dataset["domain"], dtype=np.int64)

    @cached_property
    def raw(self) -> datasets.Dataset:
        """The images as they are stored: {"bytes", "path"} each."""
        return self.dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))


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
    def of(cls, dataset: datasets.Dataset) -> Self:
        """Return all rows of a data set."""
        return cls(Table(dataset), np.arange(len(dataset)))

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
    def dataset(self) -> datasets.Dataset:
        """The rows as a data set."""
        return self.table.dataset.select(self.index)

    def records(self) -> list[dict[str, Any]]:
        """Return the images as they are stored: {"bytes", "path"} each."""
        return self.table.raw[self.index]["image"] if len(self) else []

    def select(self, positions: Sequence[int] | np.ndarray) -> "Rows":
        """Return the rows at these positions among them."""
        return Rows(self.table, self.index[np.asarray(positions, dtype=np.int64)])
