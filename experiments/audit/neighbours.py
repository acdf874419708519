"""Nearest images by unit vectors, piece by piece: a hundred thousand against as many take the memory of one piece."""

from collections.abc import Callable

import numpy as np
import torch

__all__ = ["Watch", "nearest", "unit"]

_ROWS, _COLUMNS = 2048, 8192  # of a piece: 64 MiB of similarities

Watch = Callable[[int, int], None]


def unit(vectors: np.ndarray, centre: np.ndarray | None = None) -> np.ndarray:
    """Return (N, F) vectors less a centre, (F,), scaled to length 1; float32. What lies in the centre becomes zeros."""
    moved = vectors - (0 if centre is None else centre)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.divide(moved, lengths, out=np.zeros_like(moved), where=lengths > 0).astype(np.float32, copy=False)


def nearest(
    queries: np.ndarray, references: np.ndarray, count: int = 1, watch: Watch = lambda done, total: None
) -> np.ndarray:
    """Return the nearest references of each query, nearest first, (N, count) int64.

    Parameters
    ----------
    queries : numpy.ndarray
        (N, F) float32 unit vectors.
    references : numpy.ndarray
        (M, F) float32 unit vectors, M >= 1.
    count : int
        At least 1; of fewer references all are returned.
    watch : callable
        Told how many queries of how many are done.
    """
    count = min(count, len(references))
    q, r = torch.from_numpy(queries), torch.from_numpy(references)
    result = np.empty((len(q), count), dtype=np.int64)
    for start in range(0, len(q), _ROWS):
        rows = q[start : start + _ROWS]
        best = torch.full((len(rows), count), -torch.inf)
        where = torch.zeros(len(rows), count, dtype=torch.int64)
        for first in range(0, len(r), _COLUMNS):
            block = rows @ r[first : first + _COLUMNS].T  # (rows, columns) cosines
            values, places = block.topk(min(count, block.shape[1]))
            best, order = torch.cat([best, values], 1).topk(count)
            where = torch.cat([where, places + first], 1).gather(1, order)
        result[start : start + len(rows)] = where.numpy()
        watch(start + len(rows), len(q))
    return result
