"""How much noise a promise takes, by the privacy loss distributions of dp-accounting.

Every release is a list of numbers that one image changes by at most 1, in the Euclidean norm (adjacency: an image is
added or removed), with Gaussian noise on each number: discrete noise on whole numbers (Canonne, Kamath and Steinke,
2020), or continuous noise on real ones. A release may look at a random share of the images, each drawn by a coin of its
own (Poisson sampling), as the steps of DP-SGD do. Several releases of the same images compose.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fgl_flower.errors import ConfigError

__all__ = ["COARSE", "Mechanism", "Release", "default_delta", "epsilon_of", "noise_for", "privacy_losses"]

_STEP = 1.0001  # by which noise that was found to this precision grows until it keeps the promise
_FINE = 1e-4  # grid of the privacy losses of continuous noise; dp-accounting rounds so that epsilon is never too small
COARSE = 1e-3  # of sampled releases, and where less will do


@dataclass(frozen=True)
class Release:
    """What a client sends a number of times in a run.

    Attributes
    ----------
    what : str
        "prompts", "evaluation", "models" or a name of a level's own.
    times : int
        How many lists of numbers, >= 1.
    rate : float
        Probability with which an image is looked at, each time anew, 0 < rate <= 1.
    continuous : bool
        Real numbers with continuous noise; otherwise whole numbers with discrete noise.
    """

    what: str
    times: int = 1
    rate: float = 1.0
    continuous: bool = False


@dataclass(frozen=True)
class Mechanism:
    """How a list of numbers gets its noise.

    Attributes
    ----------
    noise : float
        Standard deviation, in units of what an image changes at most.
    rate, continuous
        See `Release`.
    """

    noise: float
    rate: float = 1.0
    continuous: bool = False


def default_delta(images: int) -> float:
    """Return 1 / n^1.1 (Ponomareva et al., 2023) for n images of all clients together, at most 1e-3."""
    return min(1e-3, images**-1.1) if images > 1 else 1e-3


def noise_for(epsilon: float, delta: float, releases: int | Sequence[Release]) -> float:
    """Return the standard deviation of the noise with which all releases together are (epsilon, delta) private.

    Parameters
    ----------
    epsilon : float
        > 0.
    delta : float
        0 < delta < 1.
    releases : sequence of Release, or int
        At least one; a number stands for as many lists of whole numbers. All get the same noise.
    """
    made = (Release("", releases),) if isinstance(releases, int) else tuple(releases)
    kinds: Counter[tuple[float, bool]] = Counter()
    for release in made:
        kinds[release.rate, release.continuous] += release.times
    return _noise_for(epsilon, delta, tuple(sorted(kinds.items())))


@lru_cache(maxsize=64)
def _noise_for(epsilon: float, delta: float, kinds: tuple[tuple[tuple[float, bool], int], ...]) -> float:
    from scipy.optimize import brentq  # here: clients that promise nothing need none of it
    from scipy.stats import norm

    times = sum(count for _, count in kinds)

    def excess(log_noise: float) -> float:  # of continuous noise on all images, in closed form: Balle and Wang, 2018
        mu = math.sqrt(times) / math.exp(log_noise)
        upper, lower = norm.cdf(mu / 2 - epsilon / mu), norm.logcdf(-mu / 2 - epsilon / mu)
        return float(upper - math.exp(epsilon + lower) - delta)

    def spent(noise: float) -> float:
        made = {Mechanism(noise, rate, continuous): count for (rate, continuous), count in kinds}
        return epsilon_of(made, delta)

    most = 1.1 * math.exp(brentq(excess, math.log(1e-2), math.log(1e6), xtol=1e-6))
    least = most / 1.25  # close, as the losses of little noise are long lists
    while spent(least) <= epsilon:  # sampled releases need less
        most, least = least, least / 2
    noise = float(brentq(lambda noise: spent(noise) - epsilon, least, most, rtol=1e-4))
    while spent(noise) > epsilon:
        noise *= _STEP
    return noise


def epsilon_of(releases: Mapping[float, int] | Mapping[Mechanism, int], delta: float) -> float:
    """Return the epsilon of several releases of the same images together; 0 for none.

    Parameters
    ----------
    releases : mapping of Mechanism to int
        How many were made in each way; a number stands for discrete noise of this standard deviation on all images.
    delta : float
        0 < delta < 1.
    """
    made = {how if isinstance(how, Mechanism) else Mechanism(how): count for how, count in releases.items()}
    return float(privacy_losses(made).get_epsilon_for_delta(delta)) if made else 0.0


def privacy_losses(releases: Mapping[Mechanism, int], grid: float = _FINE) -> Any:
    """Return the distribution of the privacy losses of at least one release, by dp-accounting.

    `grid`: of the losses of continuous noise; a coarser one is faster and never makes delta too small.
    """
    total: Any = None
    for how, count in releases.items():
        composed = _distribution(how, grid).self_compose(count)
        total = composed if total is None else total.compose(composed)
    return total


def _distribution(how: Mechanism, grid: float) -> Any:
    try:
        from dp_accounting.pld import privacy_loss_distribution as made
    except ImportError:
        raise ConfigError("dp-epsilon needs an extra: pip install 'fgl-flower[privacy]'") from None
    if how.continuous:
        return made.from_gaussian_mechanism(
            how.noise, sampling_prob=how.rate, value_discretization_interval=max(grid, COARSE if how.rate < 1 else 0)
        )
    return made.from_discrete_gaussian_mechanism(how.noise, sampling_prob=how.rate)
