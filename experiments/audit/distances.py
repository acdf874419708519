"""Is the nearest private image nearer than the nearest held-out one, more often than chance would have it?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

__all__ = ["QUANTILES", "Distances", "Share", "same_mix"]

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
_SHUFFLES = 1000
_SEED = 0


@dataclass(frozen=True)
class Share:
    """A share with what to read it against.

    Attributes
    ----------
    value : float
        Images whose nearest private image is nearer, of those with a nearer one (ties are left out); 0..1.
    low, high : float
        95 % interval by Clopper and Pearson, as if images were independent.
    chance_low, chance_high : float
        Between which 95 % of such shares lie if private and held-out images of a class change places by lot. Wider than
        the interval where many images have the same neighbours.
    count : int
        Images without a tie.
    """

    value: float
    low: float
    high: float
    chance_low: float
    chance_high: float
    count: int


@dataclass(frozen=True)
class Distances:
    """Of each synthetic image, the distances to the nearest private and to the nearest held-out image.

    Attributes
    ----------
    name : str
        Of the distance.
    private, held_out : numpy.ndarray
        (N,) float64 each, of as many private as held-out images, class by class.
    private_at, held_out_at : numpy.ndarray
        (N,) int64: which ones these are, among those compared.
    labels : sequence of int
        Class of each private image compared; those held out have the same classes in the same order.
    """

    name: str
    private: np.ndarray
    held_out: np.ndarray
    private_at: np.ndarray
    held_out_at: np.ndarray
    labels: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """Distance to the nearest private image over that to the nearest held-out one, (N,); 1 where both are 0."""
        both = np.stack([self.private, self.held_out]).clip(1e-12)
        return both[0] / both[1]

    def quantiles(self) -> list[tuple[float, float, float, float]]:
        """Return (quantile, private, held out, ratio) for each of `QUANTILES`."""
        columns = [np.quantile(values, QUANTILES).tolist() for values in (self.private, self.held_out, self.ratios)]
        return list(zip(QUANTILES, *columns, strict=True))

    def nearer(self) -> Share:
        """Return the share of images that are nearer to a private image, 1/2 by chance."""
        decided = self.private != self.held_out
        count, hits = int(decided.sum()), int((self.private < self.held_out).sum())
        if not count:
            return Share(0.5, 0.0, 1.0, 0.0, 1.0, 0)
        interval = binomtest(hits, count).proportion_ci(0.95, method="exact")
        low, high = self._by_chance(decided)
        return Share(hits / count, float(interval.low), float(interval.high), low, high, count)

    def _by_chance(self, decided: np.ndarray) -> tuple[float, float]:
        """Return the central 95 % of the share when private and held-out images of a class are shuffled.

        An image's nearest of all images stays the nearest, whichever side it is put on: only sides are drawn.
        """
        private = self.private[decided] < self.held_out[decided]
        compared = len(self.labels)
        winners = np.where(private, self.private_at[decided], compared + self.held_out_at[decided])
        weight = np.bincount(winners, minlength=2 * compared) / len(winners)  # share of images that each one wins
        rng = np.random.default_rng(_SEED)
        shares = np.zeros(_SHUFFLES)
        for label in np.unique(self.labels):
            at = np.flatnonzero(self.labels == label)
            pool = weight[np.concatenate([at, compared + at])]
            shares += [pool[rng.permutation(len(pool))[: len(at)]].sum() for _ in range(_SHUFFLES)]
        return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


def same_mix(labels: Sequence[np.ndarray], seed: int = _SEED) -> list[np.ndarray]:
    """Return positions in several lists of labels: as many of each class in all of them, by lot, in order of class.

    Parameters
    ----------
    labels : sequence of numpy.ndarray
        (n,) int64 each.
    seed : int
        Of the lot.
    """
    rng = np.random.default_rng(seed)
    chosen: list[list[np.ndarray]] = [[] for _ in labels]
    for label in np.unique(np.concatenate(list(labels))):
        members = [np.flatnonzero(one == label) for one in labels]
        count = min(map(len, members))
        for mine, positions in zip(chosen, members, strict=True):
            mine.append(np.sort(rng.permutation(positions)[:count]))
    return [np.concatenate([np.empty(0, dtype=np.int64), *parts]) for parts in chosen]
