"""Image files of a split with their classes and domains, in a few blocks of memory.

A list of a million strings takes a hundred megabytes beside the text in it, and a forked process that reads them copies
them, because reading an object writes its count of references. Blocks of bytes are shared.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fgl_flower.data.tables import dataset_of

if TYPE_CHECKING:
    import datasets

__all__ = ["Files", "Paths"]


class Paths:
    """Paths of files, one after the other in a block of bytes; they index, count and iterate as a list of strings does.

    Parameters
    ----------
    paths : iterable of str
        Valid as UTF-8.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._text = bytearray()
        self._bounds = array("q", [0])  # of path i: where it begins, and at i + 1 where it ends
        for path in paths:
            self.append(path)

    @classmethod
    def joined(cls, parts: "Iterable[Paths]") -> Self:
        """Return the paths of all parts in order."""
        result = cls()
        for part in parts:
            shifted = np.frombuffer(part._bounds, np.int64)[1:] + len(result._text)
            result._bounds.frombytes(shifted.tobytes())
            result._text += part._text
        return result

    def select(self, positions: np.ndarray) -> "Paths":
        """Return the paths at these positions, (n,), ascending."""
        return self if len(positions) == len(self) else Paths(self[i] for i in positions.tolist())

    def append(self, path: str) -> None:
        """Add a path at the end."""
        self._text += path.encode()
        self._bounds.append(len(self._text))

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, position: int) -> str:
        return self._text[self._bounds[position] : self._bounds[position + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def arrow(self) -> Any:
        """Return them as a `pyarrow.StringArray` that shares the text with them: nothing can be appended afterwards."""
        import pyarrow as pa

        bounds, text = pa.py_buffer(self._bounds), pa.py_buffer(self._text)
        return pa.LargeStringArray.from_buffers(len(self), bounds, text).cast(pa.string())


@dataclass(frozen=True, eq=False)
class Files:
    """Image files with their class and domain, as positions in their lists of names.

    Attributes
    ----------
    paths : Paths
    labels, domains : numpy.ndarray
        (n,) int64 each; a domain of -1 is unknown.
    """

    paths: Paths
    labels: np.ndarray
    domains: np.ndarray

    @classmethod
    def of_classes(cls, by_class: Sequence[Paths]) -> Self:
        """Return the files of each class in order, of the first domain."""
        paths = Paths.joined(by_class)
        labels = np.repeat(np.arange(len(by_class)), [len(part) for part in by_class])
        return cls(paths, labels, np.zeros(len(paths), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def dataset(self, columns: "datasets.Features") -> "datasets.Dataset":
        """Return them as a data set with the columns of `fgl_flower.data.folders.features`, without captions."""
        import pyarrow as pa  # here: see fgl_flower.data.rows

        count, paths = len(self), self.paths.arrow()
        image = pa.StructArray.from_arrays([pa.nulls(count, pa.binary()), paths], ["bytes", "path"])
        return dataset_of([image, pa.array(self.labels), pa.array(self.domains), pa.repeat("", count)], columns)
