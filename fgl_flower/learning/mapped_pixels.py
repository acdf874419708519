"""Pixels of which only those that are asked for come into memory: they index as a tensor does."""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch

from fgl_flower.data.decoded import Decoded

__all__ = ["Index", "MappedPixels"]

Index = torch.Tensor | np.ndarray | Sequence[int] | slice | int

# Bytes read of a file after which its pages leave this process' memory. The kernel maps more than what is read: with
# 32 MiB a client of images of 150 kB held half a gigabyte of them.
_RELEASED = 8 * 2**20


class MappedPixels:
    """Some images of one or more blocks, as (N, 3, S, S) uint8.

    What a tensor has beyond indexing, `split` and `to` is not there: it would need all images in memory.

    Parameters
    ----------
    blocks : sequence of Decoded
        Of images of one size; at least one.
    rows : numpy.ndarray, optional
        (N,) int64, positions among the images of all blocks, one after the other; None: all of them.
    device : torch.device
        Where images go that are read.
    """

    dtype, ndim = torch.uint8, 4

    def __init__(
        self,
        blocks: Sequence[Decoded],
        rows: np.ndarray | None = None,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
    ) -> None:
        self._blocks = tuple(blocks)
        self._starts = np.cumsum([0, *(len(block.pixels) for block in blocks)])
        self._rows = np.arange(self._starts[-1]) if rows is None else rows
        self._device = device
        self._read = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> torch.Size:
        """(N, 3, S, S)."""
        size = self._blocks[0].pixels.shape[1]
        return torch.Size((len(self), 3, size, size))

    def __getitem__(self, index: Index) -> torch.Tensor:
        """Return a copy of the images at these positions, (n, 3, S, S); of the one at a whole number, (3, S, S)."""
        rows = self._rows[_plain(index)]
        images = torch.from_numpy(self._gathered(np.atleast_1d(rows))).permute(0, 3, 1, 2)  # channels last
        return (images if np.ndim(rows) else images[0]).to(self._device)

    def split(self, count: int) -> Iterator[torch.Tensor]:
        """Yield the images in order, `count` at a time."""
        for start in range(0, len(self), count):
            yield self[start : start + count]

    def select(self, index: Index) -> Self:
        """Return the images at these positions, (n,), none of them read."""
        return type(self)(self._blocks, self._rows[_plain(index)], self._device)

    def to(self, device: torch.device) -> Self:
        """Return the same images, which go to a device when they are read."""
        return type(self)(self._blocks, self._rows, device)

    @classmethod
    def concat(cls, parts: "Sequence[MappedPixels | torch.Tensor]") -> Self:
        """Return the images of all parts in order; tensors stay where they are, in memory."""
        blocks, rows, start = list[Decoded](), list[np.ndarray](), 0
        for part in parts:
            if isinstance(part, torch.Tensor):
                pixels = part.permute(0, 2, 3, 1).numpy()
                part = cls([Decoded(pixels, np.arange(len(pixels)), {})])
            blocks += part._blocks
            rows.append(part._rows + start)
            start += int(part._starts[-1])
        return cls(blocks, np.concatenate(rows))

    def _gathered(self, rows: np.ndarray) -> np.ndarray:
        size = self._blocks[0].pixels.shape[1]
        result = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        for block, start, stop in zip(self._blocks, self._starts, self._starts[1:], strict=False):
            (places,) = np.nonzero((rows >= start) & (rows < stop))
            result[places] = block.pixels[rows[places] - start]
        self._read += result.nbytes
        if self._read > _RELEASED:
            self._read = 0
            for block in self._blocks:
                block.release()
        return result


def _plain(index: Index) -> Index:
    return index.cpu().numpy() if isinstance(index, torch.Tensor) else index
