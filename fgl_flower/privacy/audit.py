"""What a mechanism gives away at least, by telling two neighbouring inputs apart many times.

An attacker guesses "with the image" where a score is high enough. Whatever its true and false positive rates, an
(epsilon, delta) private mechanism keeps TPR <= e^epsilon FPR + delta; the rates that were seen, with the uncertainty of
so many trials, thus bound epsilon from below (Jagielski, Ullman and Oprea, 2020; Nasr et al., 2021). Where it is known
how noise is added, the rates must keep that inequality for all epsilon at once, each with its own delta. That bounds
the noise from above, and tells much more of few trials (Nasr et al., 2023, "Tight Auditing of Differentially Private
Machine Learning").
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import beta

__all__ = ["epsilon_at_least", "noise_at_most"]

Scores = Sequence[float] | np.ndarray

_MOST = 32.0  # times the promised noise: answers that do not contradict this show nothing
_LEAST = 4.0  # the promised noise over this: how little it really is does not matter any more
_PRECISION = 0.01  # of the noise
_SLOPES = 50  # values of epsilon at which rates and promise are compared


def epsilon_at_least(without: Scores, with_it: Scores, delta: float, confidence: float = 0.95) -> float:
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

    def epsilon(false: float, true: float) -> float:
        return math.log((true - delta) / false) if true - delta > false else 0.0

    return epsilon(*_best(without, with_it, confidence, epsilon))


def noise_at_most(
    without: Scores,
    with_it: Scores,
    delta_at: Callable[[float, np.ndarray], np.ndarray],
    promised: float,
    confidence: float = 0.95,
) -> float:
    """Return an upper bound on a mechanism's noise that is wrong with probability 1 - confidence at most.

    It takes for granted that the mechanism differs from the promised one in nothing but how much noise it adds.

    Parameters
    ----------
    without, with_it, confidence
        As for `epsilon_at_least`.
    delta_at : callable
        From a standard deviation of the noise and values of epsilon, (n,), to the delta that the mechanism with this
        noise keeps at each, (n,).
    promised : float
        Standard deviation that was promised, > 0.

    Returns
    -------
    float
        math.inf if nothing is shown; of a mechanism with an eighth of the promised noise or less about an eighth.
    """
    # The difference of the rates is largest midway between Gaussians, where they are known best.
    false, true = _best(without, with_it, confidence, lambda false, true: true - false)
    if not true > false:
        return math.inf

    epsilons = np.linspace(0, math.log(true / false), _SLOPES)  # beyond, the inequality cannot be broken

    def contradicted(noise: float) -> bool:
        return bool((true > np.exp(epsilons) * false + delta_at(noise, epsilons)).any())

    low = high = promised
    if contradicted(promised):  # step by step, as the losses of little noise are long lists
        while contradicted(low := low / 2):
            high = low
            if low < promised / _LEAST:
                return low
    else:
        while not contradicted(high := high * 2):
            low = high
            if high > promised * _MOST:
                return math.inf
    while high / low > 1 + _PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if contradicted(middle) else (middle, high)
    return high


def _best(
    without: Scores, with_it: Scores, confidence: float, worth: Callable[[float, float], float]
) -> tuple[float, float]:
    """Return the rates in the second half of the trials, at the threshold and side that are worth most in the first.

    They are a false positive rate that is hardly exceeded and a true positive rate that is hardly missed.
    """
    negative, positive = np.asarray(without, dtype=float), np.asarray(with_it, dtype=float)
    if not (half := min(len(negative), len(positive)) // 2):
        return 1.0, 0.0
    sides = ((negative, positive), (-positive, -negative))  # high scores speak for the one, low ones for the other

    def bounds(side: int, threshold: float, part: slice) -> tuple[float, float]:
        low, high = sides[side]
        alarms, hits = (int((scores[part] >= threshold).sum()) for scores in (low, high))
        return _rates(alarms, hits, half, (1 - confidence) / 2)

    candidates = [
        (side, float(threshold))
        for side, (low, high) in enumerate(sides)
        for threshold in np.unique(np.quantile(np.concatenate([low[:half], high[:half]]), np.linspace(0, 1, 200)))
    ]
    side, threshold = max(candidates, key=lambda one: worth(*bounds(one[0], one[1], slice(0, half))))
    return bounds(side, threshold, slice(half, 2 * half))


def _rates(alarms: int, hits: int, count: int, missing: float) -> tuple[float, float]:
    """Return Clopper and Pearson's upper end of the false positive rate and the lower end of the true positive rate."""
    false_positives = 1.0 if alarms == count else float(beta.ppf(1 - missing, alarms + 1, count - alarms))
    true_positives = 0.0 if hits == 0 else float(beta.ppf(missing, hits, count - hits + 1))
    return false_positives, true_positives
