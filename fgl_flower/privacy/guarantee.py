"""What a run promises its clients: one image more or less changes hardly anything that they send."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import is_strategy
from fgl_flower.levels.level import level_of
from fgl_flower.privacy.accountant import (
    COARSE,
    Mechanism,
    Release,
    default_delta,
    epsilon_of,
    noise_for,
    privacy_losses,
)

__all__ = ["Guarantee", "released"]


@dataclass(frozen=True)
class Guarantee:
    """The promise of a run, and the noise that keeps it.

    Attributes
    ----------
    epsilon, delta : float
        For each image of each client, over all that the client sends in the run; adjacency: an image added or removed.
    made : tuple of Release
        All that a client sends in the run.
    noise : float
        Standard deviation of the noise on every number, in units of what an image changes at most.
    """

    epsilon: float
    delta: float
    made: tuple[Release, ...]
    noise: float

    @classmethod
    def of(cls, config: RunConfig, images: int) -> Self | None:
        """Return the promise of a run whose clients hold so many images together; None: it makes none."""
        if not config.dp_epsilon:
            return None
        delta = config.dp_delta or default_delta(images)
        made = released(config, images)
        return cls(config.dp_epsilon, delta, made, noise_for(config.dp_epsilon, delta, made) if made else 0.0)

    @property
    def releases(self) -> int:
        """Lists of numbers that a client sends in the run."""
        return sum(release.times for release in self.made)

    @property
    def spent(self) -> float:
        """Epsilon of all of them together, by the accountant."""
        return epsilon_of(self._made(), self.delta)

    def delta_at(self, noise: float, epsilons: np.ndarray) -> np.ndarray:
        """Return the delta that all releases keep at each epsilon, (n,), if this were their noise."""
        losses = privacy_losses(replace(self, noise=noise)._made(), COARSE)
        return np.asarray(losses.get_delta_for_epsilon(epsilons))

    def _made(self) -> Counter[Mechanism]:
        made: Counter[Mechanism] = Counter()
        for release in self.made:
            made[self.mechanism(release)] += release.times
        return made

    def covers(self, what: str) -> Release | None:
        """Return how often a client may send this; None: it must not."""
        return next((release for release in self.made if release.what == what), None)

    def mechanism(self, release: Release) -> Mechanism:
        """Return how the lists of numbers of a release get their noise."""
        return Mechanism(self.noise, release.rate, release.continuous)

    def threshold(self, counts: int) -> float:
        """Return the least noisy count that stands for something, of so many: of zeros alone few would reach it.

        Sigma times the root of 2 ln n is about what the largest of n Gaussian values reaches (Donoho and Johnstone,
        1994).
        """
        return max(1.0, self.noise * math.sqrt(2 * math.log(max(counts, 2))))

    def figures(self) -> dict[str, float]:
        """Return what a run's result says of it; `spent` is what the releases amount to, by the accountant."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "spent": self.spent,
            "releases": self.releases,
            "noise": self.noise,
        }

    def model_figures(self, config: RunConfig) -> dict[str, float]:
        """Return what the result of federated training says of it: `figures`, and how a step draws and clips."""
        release = self.covers("models")
        return {**self.figures(), "rate": release.rate if release else 1.0, "clip": config.dp_clip}


def released(config: RunConfig, images: int) -> tuple[Release, ...]:
    """Return all that a client sends of its images in a run, where it sends the most.

    Of federated training every step of every round is a release, as if the client took part in all rounds. Of FGL the
    level tells (`Level.releases`); an evaluation by class is two more.

    Parameters
    ----------
    config : RunConfig
    images : int
        Images of all clients together; 0: unknown.
    """
    if is_strategy(config.method):
        rate = sample_rate(config, images)
        return (Release("models", config.rounds * steps_of(config, rate), rate, continuous=True),)
    level = level_of(config.prompt_level)
    told = level.releases(config) if level.asks_clients else ()
    return (*told, *((Release("evaluation", 2),) if config.client_evaluation else ()))


def sample_rate(config: RunConfig, images: int) -> float:
    """Return the probability with which an image takes part in a step of a client's training, one for all clients.

    It must not depend on how many images a client has: that number is private, too.

    Raises
    ------
    ConfigError
        If it is not set, and nobody knows how many images there are.
    """
    if config.dp_sample_rate:
        return config.dp_sample_rate
    if not images:
        raise ConfigError(
            "this node has data of its own: the run must set dp-sample-rate, about batch-size over the images of a "
            "client"
        )
    return min(1.0, config.batch_size * config.clients / images)


def steps_of(config: RunConfig, rate: float) -> int:
    """Return the steps of a client's training in a round: an image takes part `local-epochs` times on average."""
    return max(1, round(config.local_epochs / rate))
