"""The private images as the processes of a simulation share them: divided, checked and decoded once, by one of them.

The others read what all of them see, memory (Ray's object store) or a mapped file, and copy no more than a client's
share of pixels while it trains; of a large share, a batch. A process whose clients speak of nothing but names never
imports `datasets`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from clients.skipped import log_skipped
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, DataConfig, RunConfig
from fgl_flower.data.decoded import Decoded, Progress, decoded
from fgl_flower.data.rows import Rows, Table

if TYPE_CHECKING:
    import datasets

    from fgl_flower.learning.images import Images

__all__ = ["SharedData", "can_share", "share", "shared", "sharing"]

_SHARED: list["SharedData"] = []  # of this process: none or one


def can_share(config: RunConfig) -> bool:
    """Return whether clients of a run read one decoded data set: one that stays as it is.

    With `prompt-every` files may change.
    """
    return not (config.method in METHODS_WITHOUT_CLIENTS or config.prompt_every or config.dataset == "nodes")


def share(data: "SharedData") -> None:
    """Let the clients of this process take their images from `data`."""
    _SHARED[:] = [data]


@contextmanager
def sharing(data: "SharedData | None") -> Iterator[None]:
    """Let the clients of this process take their images from `data`, for a while."""
    before = list(_SHARED)
    if data is not None:
        share(data)
    try:
        yield
    finally:
        _SHARED[:] = before


def shared(division: DataConfig) -> "SharedData | None":
    """Return what this process was told to share, if it is of this division."""
    return next((data for data in _SHARED if data.division == division), None)


@dataclass(frozen=True, eq=False)  # one is another's equal if it is the same object: the key of what is made of it
class SharedData:
    """A divided data set: what `clients.data` asks of one.

    Attributes
    ----------
    division : DataConfig
    classes, domains, notes : tuple of str
        Those of the `Source`.
    table : Table
    order : numpy.ndarray
        (n,) int64, positions in the table: the shares, one after the other.
    starts : numpy.ndarray
        (clients + 1,) int64, where each share begins in `order`, and where the last ends.
    decoded : Decoded or None
        All images of the table, whoever holds them: another division of the same data needs no other file. None where
        they came to another machine by the name of a file that this one does not have.
    """

    division: DataConfig
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    notes: tuple[str, ...]
    table: "SharedTable"
    order: np.ndarray
    starts: np.ndarray
    decoded: Decoded

    @classmethod
    def of(cls, config: RunConfig, watch: Progress = lambda done, total: None) -> Self:
        """Divide and decode the data of a run; `watch` is told how many images of how many are decoded."""
        from fgl_flower.data.partition import partition
        from fgl_flower.data.sources import load_source

        source, division = load_source(config), config.part(DataConfig)
        shares = partition(source.private, division).index
        rows = Rows.of(source.private)
        read = decoded(rows, division.image_size, progress=watch)
        table = SharedTable(config, rows.table.labels, rows.table.domains)
        order, starts = np.concatenate(shares), np.cumsum([0, *map(len, shares)])
        data = cls(division, source.classes, source.domains, source.notes, table, order, starts, read)
        if read.unread:
            for number, share in enumerate(shares):
                if skipped := data.skipped(number):
                    log_skipped(number, len(share), skipped)
        return data

    def rows(self, number: int) -> Rows:
        """Return a client's images that can be read, not decoded; may be empty."""
        return Rows(self.table, self._index(number)[self._readable(number)])

    def skipped(self, number: int) -> tuple[str, ...]:
        """Return why each of the client's other images cannot be read."""
        unread = self.decoded.unread
        return tuple(unread[i] for i in self._index(number)[~self._readable(number)].tolist()) if unread else ()

    def images(self, number: int) -> "Images":
        """Return the client's images that can be read, decoded; may be empty."""
        from fgl_flower.learning.images import Images

        return Images.of(self.decoded, Rows.all_of(self.table), self._index(number))

    def _index(self, number: int) -> np.ndarray:
        return self.order[int(self.starts[number]) : int(self.starts[number + 1])]

    def _readable(self, number: int) -> np.ndarray:
        """Return which of the client's images can be read, (n,) bool."""
        return np.isin(self._index(number), self._unread, invert=True)

    @cached_property
    def _unread(self) -> np.ndarray:
        return np.array(list(self.decoded.unread), dtype=np.int64)


class SharedTable(Table):
    """The private split, of which labels and domains are at hand; the rest is loaded where it is asked for.

    Parameters
    ----------
    config : RunConfig
    labels, domains : numpy.ndarray
        (n,) int64 each.
    """

    def __init__(self, config: RunConfig, labels: np.ndarray, domains: np.ndarray) -> None:
        self._config = config
        self.labels = labels
        self.domains = domains

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dataset(self) -> "datasets.Dataset":
        """All rows."""
        from fgl_flower.data.sources import load_source

        return load_source(self._config).private
