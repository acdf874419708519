"""The promise of `dp-epsilon` put to the test: a client's code asked very often, with and without an image."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from clients.data import Client
from clients.features import features
from clients.holdings import holdings
from clients.private import guarantee_of, private_counts, private_payload
from clients.voting import nearest, told
from experiments.audit.training import CANARY, training_score
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import level_of
from fgl_flower.levels.noisy_embeddings import COUNT, GRID, vectors_of
from fgl_flower.levels.public_basis import PublicBasis
from fgl_flower.privacy.audit import epsilon_at_least, noise_at_most
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
        Epsilon that the answers show at least, with 95 % confidence, whatever the mechanism is.
    by_noise : float
        The same, or more, if the mechanism is what it is said to be but for how much noise it adds: of few trials much
        closer.
    spent : float
        Epsilon that they take by the accountant.
    trials : int
        Of each of the two inputs.
    prompt : str
        That of the image that was there or not.
    """

    promise: Guarantee
    at_least: float
    by_noise: float
    spent: float
    trials: int
    prompt: str

    @property
    def broken(self) -> bool:
        """Whether more is given away than was promised."""
        return self.by_noise > self.promise.epsilon


def examine(
    config: RunConfig,
    number: int = 0,
    trials: int = 10_000,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tested:
    """Tell a client's answers with all of its images from those with one image less.

    The image is one of the client's most frequent prompt or group, whose noisy count is always sent: the worst case.
    Its score is what the answers say along what it adds to them: the count of its prompt, of embeddings the coordinates
    of its group too, and, where clients evaluate the model, the number of its class and how many of these are right, as
    if the model were right about all. Of federated training see `experiments.audit.training`.

    Raises
    ------
    ConfigError
        If the run promises nothing, or its clients send nothing.
    DataError
        If the client has no image.
    """
    client = Client(number, config)
    promise = guarantee_of(client)
    if promise is None or not promise.made:
        raise ConfigError("there is no promise to test: set dp-epsilon, and a prompt-level at which clients answer")
    name, score = _of_training(promise) if promise.covers("models") else _of_prompts(client, promise)
    scores = np.zeros((2, trials))
    for trial in range(trials):
        scores[:, trial] = score(there=False), score(there=True)
        progress(trial + 1, trials)
    at_least = epsilon_at_least(scores[0], scores[1], promise.delta)
    noise = noise_at_most(scores[0], scores[1], promise.delta_at, promise.noise)
    by_noise = replace(promise, noise=noise).spent if noise < math.inf else 0.0
    return Tested(promise, at_least, max(at_least, by_noise), promise.spent, trials, name)


def _of_training(promise: Guarantee) -> tuple[str, Callable[..., float]]:
    return CANARY, partial(training_score, promise)


def _of_prompts(client: Client, promise: Guarantee) -> tuple[str, Callable[..., float]]:
    """Return the prompt of an image, and what draws the score of answers with the image or without."""
    config, level = client.config, level_of(client.config.prompt_level)
    if not level.asks_clients:
        raise ConfigError("there is no promise to test: set dp-epsilon, and a prompt-level at which clients answer")
    held = holdings(client, ())
    if not len(held):
        raise DataError(f"client {client.partition_id} has no image: name another with --client")
    if level.kind == "votes":
        return _of_votes(client, held, promise)
    prompts = {(p.label, p.domain): p for p in level.universe(config, held.classes, held.domains) or ()}
    groups = [  # of each image; a level may not tell styles apart
        (label, domain if (label, domain) in prompts else "")
        for label, domain in zip(held.labels, held.image_domains, strict=True)
    ]
    (group, _), *_ = Counter(groups).most_common(1)
    canary, at, label = prompts[group], groups.index(group), group[0]
    without = held.select([i for i in range(len(held)) if i != at])
    weights = _vector(config, held.select([at])) if level.kind == "embeddings" else None

    def score(*, there: bool) -> float:
        images = held if there else without
        payload = private_payload(client, level, images, promise, held.classes)
        told = 0.0
        for prompt in payload.prompts:
            if prompt.text == canary.text and weights is not None:
                sums = prompt.count * payload.arrays[prompt.text].array[0] * (1 - COUNT**2) ** 0.5
                told += float(np.concatenate([[prompt.count * COUNT], sums]) @ weights)
            elif prompt.text == canary.text:
                told += prompt.count
        return told + sum(_evaluated(images, label, promise)) if config.client_evaluation else told

    return canary.text, score


def _vector(config: RunConfig, image: Holdings) -> np.ndarray:
    """Return what an image adds to its group's sums."""
    basis = PublicBasis.of(config, image.domains)
    return vectors_of(basis.coordinates(list(image.captions())))[0] / GRID


def _of_votes(client: Client, held: Holdings, promise: Guarantee) -> tuple[str, Callable[..., float]]:
    """Return what draws the score of votes with an image or without, where no other is nearest to its candidate."""
    images, config = features(client, held), client.config
    candidates = np.stack([images[0], images[0] + 1])
    width, label = images.shape[1], held.labels[0]
    ballot = Ballot(0, (label,), ((0, 1),), Vectors.of(candidates), Vectors.of(np.ones((1, width))))
    rest = [""] * (len(held) - 1)

    def score(*, there: bool) -> float:
        counts = nearest(ballot, images, [label if there else "", *rest])
        votes = sum(told(counts, promise)[0] for _ in range(config.vote_rounds))
        evaluated = private_counts([int(there)], [int(there)], promise) if config.client_evaluation else ()
        return float(votes + sum(n for [n] in evaluated))

    return f"a vote of {label}", score


def _evaluated(images: Holdings, label: str, promise: Guarantee) -> tuple[int, int]:
    counts = [images.labels.count(name) for name in images.classes]
    right, total = private_counts(counts, counts, promise)
    place = list(images.classes).index(label)
    return right[place], total[place]
