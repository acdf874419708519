"""The private images as the processes of a simulation share them: divided, checked and decoded once, by one of them.

The others read the arrays in memory that all of them see (Ray's object store) and copy no more than a client's share of
pixels while it trains. A process whose clients speak of nothing but names never imports `datasets`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from clients.skipped import log_skipped
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, DataConfig, RunConfig
from fgl_flower.data.rows import Rows, Table

if TYPE_CHECKING:
    import datasets

    from fgl_flower.learning.images import Images

__all__ = ["SharedData", "can_share", "share", "shared", "sharing"]

_DECODED_AT_ONCE = 512

_SHARED: list["SharedData"] = []  # of this process: none or one


def can_share(config: RunConfig) -> bool:
    """Return whether clients of a run read one decoded data set: one that fits, and stays as it is.

    With `prompt-every` files may change. Of what takes more than half of the free memory each process decodes the
    images of those clients that it meets.
    """
    if config.method in METHODS_WITHOUT_CLIENTS or config.prompt_every or config.dataset == "nodes":
        return False
    import psutil

    from fgl_flower.data.sources import load_source

    size = len(load_source(config).private) * 3 * config.image_size**2
    return size < psutil.virtual_memory().available / 2


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
    """A divided data set: what `clients.data` asks of one, in arrays.

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
    good : numpy.ndarray
        (n,) bool, in that order: which images can be read.
    pixels : numpy.ndarray
        (n, S, S, 3) uint8, in that order; anything where an image cannot be read.
    sentences : dict of int to str
        Place in that order of each image that cannot be read, and why.
    """

    division: DataConfig
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    notes: tuple[str, ...]
    table: "SharedTable"
    order: np.ndarray
    starts: np.ndarray
    good: np.ndarray
    pixels: np.ndarray
    sentences: dict[int, str]

    @classmethod
    def of(cls, config: RunConfig, watch: Callable[[int, int], None] = lambda done, total: None) -> Self:
        """Divide and decode the data of a run; `watch` is told how many images of how many are decoded."""
        from fgl_flower.data.decoding import pictures
        from fgl_flower.data.partition import partition
        from fgl_flower.data.sources import load_source
        from fgl_flower.errors import DataError
        from fgl_flower.learning.images import to_square

        source, division = load_source(config), config.part(DataConfig)
        shares = partition(source.private, division).index
        order = np.concatenate(shares)
        rows, size = Rows.of(source.private).select(order), division.image_size
        pixels, sentences = np.zeros((len(order), size, size, 3), dtype=np.uint8), dict[int, str]()
        for start in range(0, len(order), _DECODED_AT_ONCE):
            part = rows.select(np.arange(start, min(start + _DECODED_AT_ONCE, len(order))))
            for place, picture in enumerate(pictures(part.records()), start):
                if isinstance(picture, DataError):
                    sentences[place] = str(picture)
                else:
                    pixels[place] = np.asarray(to_square(picture, size))
            watch(start + len(part), len(order))
        good = np.ones(len(order), dtype=bool)
        good[list(sentences)] = False
        table = SharedTable(config, rows.table.labels, rows.table.domains)
        starts = np.cumsum([0, *map(len, shares)])
        data = cls(
            division, source.classes, source.domains, source.notes, table, order, starts, good, pixels, sentences
        )
        for number in np.unique(np.searchsorted(starts, list(sentences), side="right") - 1).tolist():
            log_skipped(number, len(shares[number]), data.skipped(number))
        return data

    def rows(self, number: int) -> Rows:
        """Return a client's images that can be read, not decoded; may be empty."""
        places = self._places(number)
        return Rows(self.table, self.order[places][self.good[places]])

    def skipped(self, number: int) -> tuple[str, ...]:
        """Return why each of the client's other images cannot be read."""
        if not self.sentences:
            return ()
        places = self._places(number)
        return tuple(self.sentences[i] for i in range(places.start, places.stop) if not self.good[i])

    def images(self, number: int) -> "Images":
        """Return a copy of the client's images that can be read, decoded; may be empty."""
        from fgl_flower.learning.images import Images

        places, rows = self._places(number), self.rows(number)
        pixels = self.pixels[places][self.good[places]]
        return Images.from_arrays(pixels, rows.labels.tolist(), rows.domains.tolist(), self.skipped(number))

    def _places(self, number: int) -> slice:
        return slice(int(self.starts[number]), int(self.starts[number + 1]))


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
