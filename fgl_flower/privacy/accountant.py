"""How much noise a promise takes, by the privacy loss distributions of dp-accounting.

Every release is a list of whole numbers of which one image changes one number by one at most (adjacency: an image is
added or removed), and each number gets discrete Gaussian noise (Canonne, Kamath and Steinke, 2020). Several releases of
the same images compose.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fgl_flower.errors import ConfigError

__all__ = ["default_delta", "epsilon_of", "noise_for"]

_STEP = 1.0001  # by which noise that was found to this precision grows until it keeps the promise


def default_delta(images: int) -> float:
    """Return 1 / n^1.1 (Ponomareva et al., 2023) for n images of all clients together, at most 1e-3."""
    return min(1e-3, images**-1.1) if images > 1 else 1e-3


@lru_cache(maxsize=64)
def noise_for(epsilon: float, delta: float, releases: int) -> float:
    """Return the standard deviation of the noise with which so many releases together are (epsilon, delta) private.

    Parameters
    ----------
    epsilon : float
        > 0.
    delta : float
        0 < delta < 1.
    releases : int
        >= 1.
    """

    from scipy.optimize import brentq  # here: clients that promise nothing need none of it
    from scipy.stats import norm

    def excess(log_noise: float) -> float:  # of the continuous mechanism, in closed form: Balle and Wang, 2018
        mu = math.sqrt(releases) / math.exp(log_noise)
        upper, lower = norm.cdf(mu / 2 - epsilon / mu), norm.logcdf(-mu / 2 - epsilon / mu)
        return float(upper - math.exp(epsilon + lower) - delta)

    about = math.exp(brentq(excess, math.log(1e-2), math.log(1e6), xtol=1e-6))

    def over(noise: float) -> float:
        return epsilon_of({noise: releases}, delta) - epsilon

    noise = float(brentq(over, about / 2, about * 1.1, rtol=1e-4))
    while epsilon_of({noise: releases}, delta) > epsilon:
        noise *= _STEP
    return noise


def epsilon_of(releases: Mapping[float, int], delta: float) -> float:
    """Return the epsilon of several releases of the same images together; 0 for none.

    Parameters
    ----------
    releases : mapping of float to int
        How many were made with noise of each standard deviation.
    delta : float
        0 < delta < 1.
    """
    total: Any = None
    for noise, count in releases.items():
        composed = _distributions().from_discrete_gaussian_mechanism(noise).self_compose(count)
        total = composed if total is None else total.compose(composed)
    return 0.0 if total is None else float(total.get_epsilon_for_delta(delta))


def _distributions() -> Any:
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError:
        raise ConfigError("dp-epsilon needs an extra: pip install 'fgl-flower[privacy]'") from None
    return privacy_loss_distribution
