"""Means over seeds with their 95 % intervals, and differences paired by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its 95 % interval.

    Attributes
    ----------
    mean : float
    half : float
        NaN for a single value: it says nothing of the spread.
    count : int
        Values behind the mean.
    """

    mean: float
    half: float
    count: int


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least one value and its 95 % interval by Student's t."""
    if len(values) < 2:
        return Interval(fmean(values), math.nan, len(values))
    from scipy.stats import t  # half a second to import: only for those who compute one

    half = t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(fmean(values), float(half), len(values))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval | None:
    """Return `ours` minus `theirs` over the seeds that both have; None without a common seed.

    Pairing takes out what a seed does to both: its partition, its initialisation, its images.
    """
    common = sorted(ours.keys() & theirs.keys())
    return interval([ours[seed] - theirs[seed] for seed in common]) if common else None
