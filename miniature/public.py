"""The public split as tensors: what every stage of the recipe trains on."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fgl_flower.data.world import CLASSES, Drawing, draw_split
from miniature.texts import prompts

_SEED = 11  # of the choice of prompts
_CHUNK = 500


@dataclass(frozen=True)
class Public:
    """Images of the public split with their prompts.

    Attributes
    ----------
    pixels : Tensor
        (N, 3, 32, 32) uint8.
    labels : Tensor
        (N,) int64 class numbers.
    prompts : list of list of str
        N times `VARIANTS` true prompts; the first is the full caption.
    """

    pixels: Tensor
    labels: Tensor
    prompts: list[list[str]]

    @property
    def captions(self) -> list[str]:
        """The full caption of every image."""
        return [p[0] for p in self.prompts]


def to_model(pixels: Tensor) -> Tensor:
    """uint8 pixels -> float in -1..1, the range of the autoencoder."""
    return pixels.float() / 127.5 - 1


def load_public(count: int, workers: int) -> Public:
    """Draw `count` images of the public split over `workers` processes (1 ms to 3 ms an image)."""
    starts = range(0, count, _CHUNK)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            chunks = list(pool.map(_chunk, starts, [min(_CHUNK, count - s) for s in starts]))
    else:
        chunks = [_chunk(s, min(_CHUNK, count - s)) for s in starts]
    drawings = [d for chunk in chunks for d in chunk]
    pixels = torch.from_numpy(np.stack([d.image for d in drawings])).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor([CLASSES.index(d.label) for d in drawings])
    texts = [prompts(d, np.random.default_rng([_SEED, i])) for i, d in enumerate(drawings)]
    return Public(pixels, labels, texts)


def _chunk(start: int, count: int) -> list[Drawing]:
    return draw_split("public", count, start=start)
