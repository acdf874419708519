"""Membership inference by shadow models: was an image among those that a model was trained on?

Shadow models are trained as the target was, each on a random half of the images, so that for every image some saw it
("in") and some did not ("out"). An attack compares what the target says of an image with what these say. All attacks
here start from one number, the logit of the probability that a model gives to an image's label.

- *LiRA* (Carlini et al., 2022, arXiv 2112.03570): is the target's logit more likely under the normal distribution of
  the "in" models than under that of the "out" models (online), or how far above the "out" models is it (offline)?
- *RMIA* (Zarifzadeh, Liu and Shokri, 2024, arXiv 2312.03262): the target's probability relative to the shadow models'
  mean, compared with that of images that nobody trained on.

An attack is judged by the true positive rate at a low false positive rate: whom it accuses, it should accuse rightly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ATTACKS", "LEAST_MODELS", "LEVELS", "Rates", "Shadows", "lira_offline", "lira_online", "rates", "rmia"]

LEAST_MODELS = 6  # without the target and its complement two are "in" and two "out": the least to have a spread
LEVELS = (0.001, 0.01)  # false positive rates at which attacks are compared
_MANY = 64  # models from which on each image has a spread of its own: fewer are too few to estimate it (LiRA)
_LEAST_SPREAD = 1e-6  # of logits: models that are the same to the bit
_GAMMA = 2.0  # RMIA's threshold on the ratio of ratios, as in its paper


@dataclass(frozen=True)
class Shadows:
    """What a target and the shadow models say of the same images.

    Attributes
    ----------
    target : numpy.ndarray
        (views, N) logits of the probability of each image's label, by the target. Views are changes of an image under
        which a model is asked, and several models of one run.
    shadows : numpy.ndarray
        (K, views, N), by the shadow models.
    member : numpy.ndarray
        (K, N) bool: which image was among a shadow model's.
    others : numpy.ndarray
        (views, Z) the target's, of images that no model was trained on.
    shadows_on_others : numpy.ndarray
        (K, views, Z).
    """

    target: np.ndarray
    shadows: np.ndarray
    member: np.ndarray
    others: np.ndarray
    shadows_on_others: np.ndarray

    def moments(self, inside: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the models that saw an image, or did not, (views, N) each.

        With few models all images share one deviation in each view.
        """
        chosen = (self.member if inside else ~self.member)[:, None, :]  # (K, 1, N)
        count = chosen.sum(0)
        mean = np.where(chosen, self.shadows, 0).sum(0) / count
        squares = (np.where(chosen, self.shadows - mean, 0) ** 2).sum(0)
        if len(self.member) + 2 >= _MANY:
            variance = squares / (count - 1)
        else:
            variance = np.broadcast_to(squares.sum(1, keepdims=True) / (count - 1).sum(), mean.shape)
        return mean, np.sqrt(variance).clip(min=_LEAST_SPREAD)


def lira_online(given: Shadows) -> np.ndarray:
    """Return the log likelihood ratio of "in" to "out", summed over the views, (N,)."""
    result = np.zeros(given.target.shape[1])
    for sign, inside in ((1, True), (-1, False)):
        mean, deviation = given.moments(inside)
        result += sign * (-np.log(deviation) - ((given.target - mean) / deviation) ** 2 / 2).sum(0)
    return result


def lira_offline(given: Shadows) -> np.ndarray:
    """Return how many deviations above the "out" models the target is, summed over the views, (N,)."""
    mean, deviation = given.moments(inside=False)
    total: np.ndarray = ((given.target - mean) / deviation).sum(0)
    return total


def rmia(given: Shadows) -> np.ndarray:
    """Return the share of images that nobody trained on which an image dominates, (N,), ties broken by its own ratio.

    The reference of an image is the mean of "in" and "out" models; of the others all are "out".
    """
    member, p = given.member, _probability(given.shadows)  # (K, N)
    inside = np.where(member, p, 0).sum(0) / member.sum(0)
    outside = np.where(member, 0, p).sum(0) / (~member).sum(0)
    ratio = _probability(given.target) / ((inside + outside) / 2)
    other = np.sort(_probability(given.others) / _probability(given.shadows_on_others).mean(0))
    dominated = np.searchsorted(other, ratio / _GAMMA, side="right")
    result: np.ndarray = (dominated + ratio / (1 + ratio)) / (len(other) + 1)
    return result


ATTACKS = {"LiRA, online": lira_online, "LiRA, offline": lira_offline, "RMIA": rmia}


def _probability(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, their mean over the views, of (..., views, N) logits."""
    result: np.ndarray = (1 / (1 + np.exp(-logits.clip(-40, 40)))).mean(-2)
    return result


@dataclass(frozen=True)
class Rates:
    """How well scores tell members from others.

    Attributes
    ----------
    auc : float
        Area under the curve of true against false positive rates; 0.5 is chance.
    at : dict of float to (float, float, float)
        By false positive rate the highest true positive rate that a threshold has at most there, and its 95 %
        interval by Clopper and Pearson.
    members, others : int
        Scores of either kind.
    curve : numpy.ndarray
        (2, points) false and true positive rates.
    """

    auc: float
    at: dict[float, tuple[float, float, float]]
    members: int
    others: int
    curve: np.ndarray


def rates(scores: np.ndarray, member: np.ndarray, levels: Sequence[float] = LEVELS) -> Rates:
    """Return how well scores, the higher the likelier a member, tell so, (n,) each; there is one of either kind."""
    from scipy.stats import binomtest  # here: it takes a second
    from sklearn.metrics import auc, roc_curve

    false, true, _ = roc_curve(member, scores, drop_intermediate=False)
    members = int(member.sum())
    at = {}
    for level in levels:
        rate = float(true[false <= level].max())
        exact = binomtest(round(rate * members), members).proportion_ci(0.95, method="exact")
        at[level] = (rate, float(exact.low), float(exact.high))
    return Rates(float(auc(false, true)), at, members, int((~member).sum()), np.stack([false, true]))
