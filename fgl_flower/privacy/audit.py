"""What a mechanism gives away at least, by telling two neighbouring inputs apart many times.

An attacker guesses "with the image" where a score is high enough. Whatever its true and false positive rates, an
(epsilon, delta) private mechanism keeps TPR <= e^epsilon FPR + delta; the rates that were seen, with the uncertainty of
so many trials, thus bound epsilon from below (Jagielski, Ullman and Oprea, 2020; Nasr et al., 2021).
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import beta

__all__ = ["epsilon_at_least"]


def epsilon_at_least(
    without: Sequence[float] | np.ndarray,
    with_it: Sequence[float] | np.ndarray,
    delta: float,
    confidence: float = 0.95,
) -> float:
    """Return a lower bound on epsilon that is wrong with probability 1 - confidence at most; 0 if nothing is shown.

    The threshold and which input is called positive are chosen on the first half of the trials, the rates are counted
    in the second.

    Parameters
    ----------
    without, with_it : sequence of float
        (trials,) scores of the mechanism's outputs for the one and for the other input, in the order of the trials.
    delta : float
        Of the promise, 0..1.
    confidence : float
        0..1; Clopper and Pearson's intervals share what is missing to 1.
    """
    negative, positive = np.asarray(without, dtype=float), np.asarray(with_it, dtype=float)
    if not (half := min(len(negative), len(positive)) // 2):
        return 0.0
    sides = ((negative, positive), (-positive, -negative))  # high scores speak for the one, low ones for the other

    def bound(side: int, threshold: float, part: slice) -> float:
        low, high = sides[side]
        alarms, hits = (int((scores[part] >= threshold).sum()) for scores in (low, high))
        count = len(low[part])
        return _epsilon(alarms, hits, count, delta, (1 - confidence) / 2)

    candidates = [
        (side, float(threshold))
        for side, (low, high) in enumerate(sides)
        for threshold in np.unique(np.quantile(np.concatenate([low[:half], high[:half]]), np.linspace(0, 1, 200)))
    ]
    side, threshold = max(candidates, key=lambda one: bound(one[0], one[1], slice(0, half)))
    return bound(side, threshold, slice(half, 2 * half))


def _epsilon(alarms: int, hits: int, count: int, delta: float, missing: float) -> float:
    false_positives = 1.0 if alarms == count else float(beta.ppf(1 - missing, alarms + 1, count - alarms))
    true_positives = 0.0 if hits == 0 else float(beta.ppf(missing, hits, count - hits + 1))
    return math.log((true_positives - delta) / false_positives) if true_positives - delta > false_positives else 0.0
