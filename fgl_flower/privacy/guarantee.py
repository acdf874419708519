"""What a run promises its clients: one image more or less changes hardly anything that they send."""

import math
from dataclasses import dataclass
from typing import Self

from fgl_flower.config import RunConfig
from fgl_flower.privacy.accountant import default_delta, epsilon_of, noise_for

__all__ = ["Guarantee"]


@dataclass(frozen=True)
class Guarantee:
    """The promise of a run, and the noise that keeps it.

    Attributes
    ----------
    epsilon, delta : float
        For each image of each client, over all that the client sends in the run; adjacency: an image added or removed.
    releases : int
        Lists of counts that a client sends: one of prompts, or of votes in each of `vote-rounds`, and, where clients
        evaluate the model, two of that.
    noise : float
        Standard deviation of the discrete Gaussian noise on every count.
    """

    epsilon: float
    delta: float
    releases: int
    noise: float

    @classmethod
    def of(cls, config: RunConfig, images: int) -> Self | None:
        """Return the promise of a run whose clients hold so many images together; None: it makes none."""
        if not config.dp_epsilon:
            return None
        delta = config.dp_delta or default_delta(images)
        releases = config.vote_rounds if config.prompt_level == "votes" else 1
        releases += 2 if config.client_evaluation else 0
        return cls(config.dp_epsilon, delta, releases, noise_for(config.dp_epsilon, delta, releases))

    def threshold(self, counts: int) -> float:
        """Return the least noisy count that stands for something, of so many: of zeros alone few would reach it.

        Sigma times the root of 2 ln n is about what the largest of n Gaussian values reaches (Donoho and Johnstone,
        1994).
        """
        return max(1.0, self.noise * math.sqrt(2 * math.log(max(counts, 2))))

    def figures(self, counts: int) -> dict[str, float]:
        """Return what a run's result says of it, where a client tells so many counts of prompts.

        `spent` is what the releases made amount to, by the accountant; `least` the count below which prompts stay away.
        """
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "spent": epsilon_of({self.noise: self.releases}, self.delta),
            "releases": self.releases,
            "noise": self.noise,
            "least": self.threshold(counts),
        }
