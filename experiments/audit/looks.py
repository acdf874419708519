"""What is kept of an image to compare it, an embedding and a small version; whole images are read batch by batch."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from PIL import Image

from experiments.audit.neighbours import Watch
from fgl_flower.data.decoding import pictures, to_square
from fgl_flower.data.rows import Rows
from fgl_flower.errors import DataError
from fgl_flower.foundation.image_encoder import ImageEncoder

__all__ = ["MOST_SIDE", "Looks", "looks_of", "readable_images"]

MOST_SIDE = 48  # pixels of a small version
_BATCH = 64
_IN_MEMORY = 256 * 2**20  # bytes; more small versions lie in a file that the kernel pages in and out


@dataclass(frozen=True)
class Looks:
    """Images to compare.

    Attributes
    ----------
    embeddings : numpy.ndarray
        (N, F) float32, as the encoder gives them.
    small : numpy.ndarray
        (N, S, S, 3) uint8.
    """

    embeddings: np.ndarray
    small: np.ndarray

    def __len__(self) -> int:
        return len(self.small)

    def select(self, positions: np.ndarray) -> "Looks":
        """Return the images at these positions, (n,) int64."""
        return Looks(self.embeddings[positions], self.small[positions])


def looks_of(
    images: Iterable[Image.Image],
    count: int,
    encoder: ImageEncoder,
    side: int,
    watch: Watch = lambda done, total: None,
) -> Looks:
    """Return what is kept of images.

    Parameters
    ----------
    images : iterable of PIL images
        RGB, of any size; of those that are not square the middle counts.
    count : int
        How many come, at most.
    encoder : ImageEncoder
    side : int
        Of the small versions, in pixels.
    watch : callable
        Told how many images of how many are done.
    """
    small, embeddings, done = _block((count, side, side, 3)), list[np.ndarray](), 0
    stream = iter(images)
    while batch := list(islice(stream, _BATCH)):
        batch = [to_square(image, min(image.size)) for image in batch]  # as what is drawn is square
        embeddings.append(encoder.embed(batch))
        for image in batch:
            small[done] = np.asarray(to_square(image, side))
            done += 1
        watch(done, count)
    width = embeddings[0].shape[1] if embeddings else 1
    return Looks(np.concatenate([np.empty((0, width), np.float32), *embeddings]), small[:done])


def readable_images(splits: Sequence[Rows], kept: list[int]) -> Iterator[Image.Image]:
    """Yield the images of several splits that can be read; append the position of each among all to `kept`."""
    for position, picture in enumerate(chain.from_iterable(pictures(rows.stream()) for rows in splits)):
        if not isinstance(picture, DataError):
            kept.append(position)
            yield picture


def _block(shape: Sequence[int]) -> np.ndarray:
    if int(np.prod(shape)) <= _IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    with tempfile.TemporaryFile() as file:  # the mapping outlives the handle
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=tuple(shape))
