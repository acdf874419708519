"""The promise of `dp-epsilon` put to the test: a client's code asked very often, with and without an image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clients.data import Client
from clients.features import features
from clients.holdings import holdings
from clients.private import guarantee_of, private_counts, private_payload
from clients.voting import nearest, told
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import level_of
from fgl_flower.privacy.accountant import epsilon_of
from fgl_flower.privacy.audit import epsilon_at_least
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.vectors import Vectors

__all__ = ["Tested", "examine"]


@dataclass(frozen=True)
class Tested:
    """What the test found.

    Attributes
    ----------
    promise : Guarantee
    at_least : float
        Epsilon that the releases show at least, by trials, with 95 % confidence.
    spent : float
        Epsilon that they take by the accountant.
    trials : int
        Of each of the two inputs.
    prompt : str
        That of the image that was there or not.
    """

    promise: Guarantee
    at_least: float
    spent: float
    trials: int
    prompt: str

    @property
    def broken(self) -> bool:
        """Whether more is given away than was promised."""
        return self.at_least > self.promise.epsilon


def examine(
    config: RunConfig,
    number: int = 0,
    trials: int = 10_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tested:
    """Tell a client's answers with all of its images from those with one image less.

    The image is one of the client's most frequent prompt, whose noisy count is always sent: the worst case. Its score
    is the sum of all that it changes by one: the count of its prompt and, where clients evaluate the model, the number
    of its class and how many of these are right, as if the model were right about all.

    Raises
    ------
    ConfigError
        If the run promises nothing, or its clients send nothing.
    DataError
        If the client has no image.
    """
    client = Client(number, config)
    promise, level = guarantee_of(client), level_of(config.prompt_level)
    if promise is None or not level.asks_clients:
        raise ConfigError("there is no promise to test: set dp-epsilon, and a prompt-level at which clients answer")
    held = holdings(client, ())
    if not len(held):
        raise DataError(f"client {number} has no image: name another with --client")
    if level.kind == "votes":
        return _votes(client, held, promise, trials, progress)
    canary = max(level.describe(held).prompts, key=lambda prompt: prompt.count)
    at = next(
        i for i in range(len(held)) if held.labels[i] == canary.label and canary.domain in {"", held.image_domains[i]}
    )
    inputs = (held.select([i for i in range(len(held)) if i != at]), held)
    scores = np.zeros((2, trials))
    for trial in range(trials):
        for which, images in enumerate(inputs):
            payload = private_payload(client, level, images, promise, held.classes)
            scores[which, trial] = sum(p.count for p in payload.prompts if p.text == canary.text)
            if config.client_evaluation:
                scores[which, trial] += sum(_evaluated(images, canary.label, promise))
        progress(trial + 1, trials)
    spent = epsilon_of({promise.noise: promise.releases}, promise.delta)
    return Tested(promise, epsilon_at_least(scores[0], scores[1], promise.delta), spent, trials, canary.text)


def _votes(
    client: Client, held: Holdings, promise: Guarantee, trials: int, progress: Callable[[int, int], None]
) -> Tested:
    """Tell votes with an image from votes without it, where it is the only one that is nearest to its candidate."""
    images = features(client, held)
    candidates = np.stack([images[0], images[0] + 1])
    width, label = images.shape[1], held.labels[0]
    ballot = Ballot(0, (label,), ((0, 1),), Vectors.of(candidates), Vectors.of(np.ones((1, width))))
    same = [label, *[""] * (len(held) - 1)]
    scores = np.zeros((2, trials))
    for trial in range(trials):
        for which, labels in enumerate((["", *same[1:]], same)):
            for _ in range(client.config.vote_rounds):
                scores[which, trial] += told(nearest(ballot, images, labels), promise)[0]
            if client.config.client_evaluation:
                scores[which, trial] += sum(n for [n] in private_counts([which], [which], promise))
        progress(trial + 1, trials)
    spent = epsilon_of({promise.noise: promise.releases}, promise.delta)
    return Tested(promise, epsilon_at_least(scores[0], scores[1], promise.delta), spent, trials, f"a vote of {label}")


def _evaluated(images: Holdings, label: str, promise: Guarantee) -> tuple[int, int]:
    counts = [images.labels.count(name) for name in images.classes]
    right, total = private_counts(counts, counts, promise)
    place = list(images.classes).index(label)
    return right[place], total[place]
