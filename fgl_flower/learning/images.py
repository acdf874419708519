"""Labelled images of one size, decoded once: then an epoch only indexes them.

Decoding is the slowest part of training on small images, and worker processes cost more than they save. Up to
`MAPPED_BYTES` the pixels are one block in memory, beyond that they lie in a mapped file (`fgl_flower.data.decoded`),
of which a batch is read when it is its turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import datasets
import numpy as np
import torch

from fgl_flower.data.decoded import MAPPED_BYTES, Decoded, decoded
from fgl_flower.data.decoding import to_square
from fgl_flower.data.rows import Rows
from fgl_flower.learning.mapped_pixels import MappedPixels

__all__ = ["Images", "decode", "decode_rows", "normalise", "to_square"]

_LEAST_VARIANCE = 0.01  # of an image without contrast, in units of (64 grey levels) squared


@dataclass(frozen=True)
class Images:
    """Labelled images of one size.

    Attributes
    ----------
    pixels : torch.Tensor
        (N, 3, S, S) uint8, RGB. Of decoded files that take more than `MAPPED_BYTES` it is a `MappedPixels`, which can
        do no more than be indexed and split.
    labels : torch.Tensor
        (N,) int64, class of each image.
    domains : torch.Tensor
        (N,) int64, domain of each image; -1 where it is unknown.
    skipped : tuple of str
        Images of the data set that could not be read and are left out: a sentence each that names the file.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    domains: torch.Tensor
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.pixels)
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            raise ValueError(f"pixels must be (N, 3, S, S) uint8, not {tuple(self.pixels.shape)} {self.pixels.dtype}")
        if self.labels.shape != (count,) or self.domains.shape != (count,):
            raise ValueError(f"{count} images need as many labels and domains")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""
        return self.pixels.shape[-1]

    @classmethod
    def empty(cls, size: int) -> Self:
        """Return no images of `size` pixels a side: what a client without data holds."""
        none = torch.empty(0, dtype=torch.int64)
        return cls(torch.empty(0, 3, size, size, dtype=torch.uint8), none, none.clone())

    @classmethod
    def from_arrays(
        cls,
        pixels: np.ndarray,
        labels: Sequence[int] | np.ndarray,
        domains: Sequence[int] | np.ndarray,
        skipped: tuple[str, ...] = (),
    ) -> Self:
        """Return images from (N, S, S, 3) uint8 pixels, as PIL and NumPy lay them out."""
        block = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)  # (N, 3, S, S), channels last
        classes, styles = (torch.as_tensor(column, dtype=torch.int64) for column in (labels, domains))
        return cls(block, classes, styles, skipped)

    @classmethod
    def of(cls, read: Decoded, rows: Rows, index: np.ndarray | None = None) -> Self:
        """Return the images at these positions among decoded `rows`, without those that cannot be read.

        Parameters
        ----------
        read : Decoded
        rows : Rows
            Those that `read` was decoded from.
        index : numpy.ndarray, optional
            (n,) int64; None: all of them.
        """
        if index is None:
            index, places = read.rows, None
            skipped = tuple(read.unread.values())
        else:
            lost = np.isin(index, list(read.unread)) if read.unread else np.zeros(len(index), dtype=bool)
            skipped = tuple(read.unread[i] for i in index[lost].tolist())
            index = index[~lost]
            places = np.searchsorted(read.rows, index)
        good = rows.select(index)
        if read.path is not None and len(index) * read.pixels[:1].nbytes > MAPPED_BYTES:
            labels, domains = torch.from_numpy(good.labels), torch.from_numpy(good.domains)
            return cls(cast("torch.Tensor", MappedPixels([read], places)), labels, domains, skipped)
        pixels = read.pixels if places is None else read.pixels[places]
        pixels = pixels if pixels.flags.writeable else pixels.copy()  # torch takes no block that it must not write
        result = cls.from_arrays(pixels, good.labels, good.domains, skipped)
        read.release()
        return result

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the images of all parts in order; parts share one size and there is at least one."""
        labels, domains = (torch.cat([getattr(p, f) for p in parts]) for f in ("labels", "domains"))
        blocks = [p.pixels for p in parts]
        mapped = any(isinstance(block, MappedPixels) for block in blocks)
        pixels = MappedPixels.concat(blocks) if mapped else torch.cat(blocks)
        return cls(
            cast("torch.Tensor", pixels), labels, domains, tuple(sentence for p in parts for sentence in p.skipped)
        )

    def subset(self, index: torch.Tensor | Sequence[int]) -> "Images":
        """Return the images at these positions, (n,) int64: a copy, but of mapped pixels."""
        index = torch.as_tensor(index, dtype=torch.int64)
        pixels = self.pixels.select(index) if isinstance(self.pixels, MappedPixels) else self.pixels[index]
        return Images(pixels, self.labels[index], self.domains[index])


def decode(dataset: datasets.Dataset | Rows, size: int) -> Images:
    """Return a data set's images as one block of bytes; those that cannot be read are left out and listed.

    Parameters
    ----------
    dataset : datasets.Dataset or Rows
        With columns `image` and `label`, and optionally `domain`.
    size : int
        Side of the square images, in pixels.
    """
    return decode_rows(dataset, size)[0]


def decode_rows(dataset: datasets.Dataset | Rows, size: int) -> tuple[Images, np.ndarray]:
    """Return `decode`'s images and their positions in the data set, (n,) int64."""
    rows = dataset if isinstance(dataset, Rows) else Rows.of(dataset)
    read = decoded(rows, size)
    return Images.of(read, rows), read.rows


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Return what every classifier takes in: (N, 3, S, S) float32, channels last, from (N, 3, S, S) in 0..255.

    Each image loses its own mean colour and is divided by its own deviation (zero mean, about unit variance): clients
    need not share statistics of their data, and a white background does not drown a thin line in group norm.
    """
    # Planes first, channels last at the end: sums over a plane that lies in one piece take half the time.
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format) * (1 / 64)
    x -= x.mean((2, 3), keepdim=True)  # (N, 3, 1, 1)
    x.div_((x.square().mean((1, 2, 3), keepdim=True) + _LEAST_VARIANCE).sqrt_())
    return x.contiguous(memory_format=torch.channels_last)
