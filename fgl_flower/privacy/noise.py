"""Noise and coin tosses from the operating system's randomness: whoever knows a run's seed must not know them."""

import math
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fgl_flower.errors import ConfigError

__all__ = ["gaussian", "noised", "sampled"]


def noised(counts: Sequence[int], deviation: float) -> list[int]:
    """Return whole numbers, each with discrete Gaussian noise of its own, by OpenDP: exact to the last bit."""
    return list(_mechanism(deviation)(list(map(int, counts))))


def gaussian(count: int, deviation: float) -> np.ndarray:
    """Return continuous Gaussian noise, (count,) float64.

    The mean of four draws, doubled: that the last bits of one give it away helps no attacker against the sum of several
    (Holohan and Braghin, 2021, arXiv 2107.10138), as in Opacus' secure mode.
    """
    radius, angle = _uniform((2, 4, (count + 1) // 2))
    radius = np.sqrt(-2 * np.log1p(-radius))  # Box and Muller, 1958
    angle *= 2 * math.pi
    draws = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]  # (4, count)
    return draws.sum(axis=0) * (deviation / 2)


def sampled(count: int, rate: float) -> np.ndarray:
    """Return which of so many images take part, each with this probability (Poisson sampling); (n,) int64."""
    return np.flatnonzero(_uniform((count,)) < rate)


def _uniform(shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of 53 random bits in [0, 1), float64."""
    bits = np.frombuffer(os.urandom(8 * math.prod(shape)), dtype=np.uint64) >> np.uint64(11)
    return (bits * 2.0**-53).reshape(shape)


@lru_cache(maxsize=8)
def _mechanism(deviation: float) -> Any:
    try:
        import opendp.prelude as dp
    except ImportError:
        raise ConfigError("dp-epsilon needs an extra: pip install 'fgl-flower[privacy]'") from None
    dp.enable_features("contrib")
    return dp.m.make_gaussian(dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float), scale=deviation)
