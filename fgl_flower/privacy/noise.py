"""Discrete Gaussian noise by OpenDP, exact to the last bit and drawn from the operating system's randomness."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from fgl_flower.errors import ConfigError

__all__ = ["noised"]


def noised(counts: Sequence[int], deviation: float) -> list[int]:
    """Return whole numbers, each with discrete Gaussian noise of a standard deviation of its own draw.

    No seed of a run reaches it: whoever knows a run's seed must not know the noise.
    """
    return list(_mechanism(deviation)(list(map(int, counts))))


@lru_cache(maxsize=8)
def _mechanism(deviation: float) -> Any:
    try:
        import opendp.prelude as dp
    except ImportError:
        raise ConfigError("dp-epsilon needs an extra: pip install 'fgl-flower[privacy]'") from None
    dp.enable_features("contrib")
    return dp.m.make_gaussian(dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float), scale=deviation)
