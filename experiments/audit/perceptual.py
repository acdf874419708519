"""Perceptual distance of images, 1 - SSIM (Wang et al., 2004), and the nearest images by it.

SSIM of all pairs would take days. It is computed of the images whose thumbnails correlate most with that of the image
at hand; no encoder has a say in which these are, so that the two distances check each other.
"""

import numpy as np
import torch
from kornia.metrics import ssim
from torch.nn import functional as F

from experiments.audit.neighbours import Watch, nearest, unit

__all__ = ["Thumbnails", "nearest_by_ssim", "ssim_distance"]

SHORTLIST = 8
_THUMBNAIL = 16  # pixels a side
_WINDOW = 11  # pixels, as its authors take it
_PAIRS = 1024  # at once


class Thumbnails:
    """Small images with unit vectors of their thumbnails, less the mean colour of each.

    Parameters
    ----------
    small : numpy.ndarray
        (N, S, S, 3) uint8.
    """

    def __init__(self, small: np.ndarray) -> None:
        self.small = small
        parts = [_thumbnail(small[start : start + _PAIRS]) for start in range(0, len(small), _PAIRS)]
        self.vectors = unit(np.concatenate([np.empty((0, 3 * _THUMBNAIL**2), np.float32), *parts]))

    def __len__(self) -> int:
        return len(self.small)


def nearest_by_ssim(
    queries: Thumbnails, references: Thumbnails, watch: Watch = lambda done, total: None
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance (N,) float64 and position (N,) int64 of the nearest reference of each query by 1 - SSIM.

    Parameters
    ----------
    queries, references : Thumbnails
        At least one reference.
    watch : callable
        Told how many queries of how many are done.
    """
    candidates = nearest(queries.vectors, references.vectors, SHORTLIST)  # (N, k)
    step = max(1, _PAIRS // candidates.shape[1])
    best, where = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), step):
        chosen = candidates[start : start + step]  # (n, k)
        rows = np.repeat(np.arange(start, start + len(chosen)), chosen.shape[1])
        distances = ssim_distance(queries.small[rows], references.small[chosen.ravel()]).reshape(chosen.shape)
        column = distances.argmin(1)
        here = np.arange(len(chosen))
        best[start : start + len(chosen)] = distances[here, column]
        where[start : start + len(chosen)] = chosen[here, column]
        watch(start + len(chosen), len(queries))
    return best, where


def ssim_distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return 1 - SSIM of pairs, (N,) float64 in [0, 2]; images are (N, S, S, 3) uint8."""
    first, second = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 for images in (one, other))
    return 1 - ssim(first, second, _WINDOW).mean((1, 2, 3)).double().numpy()


def _thumbnail(small: np.ndarray) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(small)).permute(0, 3, 1, 2).float()  # (N, 3, S, S)
    pixels = F.interpolate(pixels, (_THUMBNAIL, _THUMBNAIL), mode="area")
    return (pixels - pixels.mean((2, 3), keepdim=True)).flatten(1).numpy()
