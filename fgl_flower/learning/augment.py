"""Augmentation of whole batches: kornia's crops, but one gather for small images."""

from collections.abc import Callable

import torch
from kornia.augmentation import RandomResizedCrop
from torch.nn import functional as F

from fgl_flower.learning import images
from fgl_flower.learning.randomness import own_randomness

__all__ = ["Augmenter"]

_PADDING = 4  # pixels a side
_PADDED_BYTES = 64 * 2**20  # of pixels that are padded once, for all batches
_SMALL = 64  # largest side that is padded and cropped; larger images get random resized crops


class Augmenter:
    """Draws augmented batches from a block of images.

    Small images are reflect-padded by 4 pixels and cropped at random (He et al., 2016), larger ones get a random
    resized crop as on ImageNet; both are flipped with probability 0.5. The crop of small images is one gather from all
    their windows, a view that costs no memory: kornia's RandomCrop pads and cuts every batch anew, image by image, and
    takes ten times as long on a CPU.

    Parameters
    ----------
    pixels : torch.Tensor
        (N, 3, S, S) uint8, already on the device of training; see `Images`. Of more than
        64 MiB each batch is padded anew.
    seed : int
        Seed of crops and flips.
    normalise : callable
        From (n, 3, S, S) in 0..255 to what the classifier takes in: its `Classifier.normalise`.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        seed: int,
        normalise: Callable[[torch.Tensor], torch.Tensor] = images.normalise,
    ) -> None:
        self.normalise = normalise
        size = pixels.shape[-1]
        self.small = size <= _SMALL
        self.generator = torch.Generator().manual_seed(seed)
        self.pixels = pixels
        if self.small:
            in_memory = isinstance(pixels, torch.Tensor) and pixels.nbytes <= _PADDED_BYTES
            self.windows = _windows(pixels) if in_memory else None
        else:
            self.crop = RandomResizedCrop((size, size), p=1.0)

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        """Return the normalised (n, 3, S, S) float32 batch of the images at `index`, (n,) int64."""
        if self.small:
            row, column = torch.randint(2 * _PADDING + 1, (2, len(index)), generator=self.generator)
            if self.windows is not None:
                batch = self.windows[index, row, column]
            else:
                batch = _windows(self.pixels[index])[torch.arange(len(index)), row, column]
        else:
            batch = self.pixels[index].float()
            with own_randomness(int(torch.randint(2**31, (), generator=self.generator))):
                drawn = self.crop.forward_parameters(batch.shape)
            batch = self.crop(batch, params=drawn)
        flipped = (torch.rand(len(index), generator=self.generator) < 0.5).to(batch.device)
        return self.normalise(torch.where(flipped[:, None, None, None], batch.flip(-1), batch))


def _windows(pixels: torch.Tensor) -> torch.Tensor:
    """Return all windows of the padded images as a view, (N, 9, 9, 3, S, S) uint8."""
    size = pixels.shape[-1]
    padded = F.pad(pixels.float(), (_PADDING,) * 4, mode="reflect").to(torch.uint8).permute(0, 2, 3, 1)
    return padded.contiguous().unfold(1, size, 1).unfold(2, size, 1)
