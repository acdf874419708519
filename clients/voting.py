"""A client's answer to candidates: how many of its images are nearest to each (`fgl_flower.levels.votes`)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from flwr.app import RecordDict

from clients.data import Client
from clients.features import features
from clients.policy import Policy, PolicyError
from clients.private import require
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.levels.holdings import Holdings
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.privacy.noise import noised
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import PromptPayload
from fgl_flower.wire.sizes import object_bytes


def released(config: RunConfig, content: RecordDict) -> str:
    """Return the name of what a reply to a prompt round releases: what bears one name is released once a run."""
    if config.prompt_level != "votes":
        return "prompts"
    ballot = Ballot.of(content)
    return f"votes-{ballot.round}" if ballot is not None else "votes"


def vote(
    client: Client, ballot: Ballot | None, held: Holdings, promise: Guarantee | None, policy: Policy
) -> PromptPayload:
    """Return the client's votes, with noise where the run makes a promise.

    Classes that the owner never mentions get no vote; under a promise their numbers are noise, like those of any class
    that the client does not hold.

    Parameters
    ----------
    client : Client
    ballot : Ballot or None
    held : Holdings
        All of the client's images that can be read; may be none.
    promise : Guarantee or None
    policy : Policy
        The owner's rules.

    Raises
    ------
    ConfigError
        If the question holds no candidates, or such as cannot be compared with the images.
    PolicyError
        If it is beyond the votes that the run has set, or the reply is longer than the owner permits.
    """
    config = client.config
    if ballot is None:
        raise ConfigError("prompt-level = 'votes' answers candidates of the server's, and the question holds none")
    if not 0 <= ballot.round < config.vote_rounds:
        raise PolicyError(f"the run has {config.vote_rounds} votes, and number {ballot.round + 1} is asked for")
    if strange := sorted(set(ballot.classes) - set(held.classes)):
        raise ConfigError(f"the server asks about a class {strange[0][:40]!r} that the run does not have")
    silent = {*policy.never_mention}
    labels = ["" if label in silent else label for label in held.labels]
    counts = nearest(ballot, features(client, held), labels)
    skipped = len(client.skipped)
    if promise is not None:
        require(client, promise, "votes")
        counts, skipped = told(counts, promise), 0
    payload = permitted(PromptPayload(client.partition_id, kind="votes", votes=tuple(counts), skipped=skipped), policy)
    if promise is not None:
        payload = replace(payload, held_back=0)  # of numbers with noise it would count noise
    if policy.max_bytes and object_bytes(encode(payload)) > policy.max_bytes:
        raise PolicyError(f"the owner permits replies of {policy.max_bytes:,} bytes, and so many votes take more")
    return payload


def told(counts: Sequence[int], promise: Guarantee) -> list[int]:
    """Return what leaves a client of its counts in one vote: one release."""
    return noised(counts, promise.noise)


def nearest(ballot: Ballot, images: np.ndarray, labels: Sequence[str]) -> list[int]:
    """Return how many images are nearest to each candidate of each class; each votes once, for one of its own class.

    Parameters
    ----------
    ballot : Ballot
    images : numpy.ndarray
        (images, width) float32, their features.
    labels : sequence of str
        Class of each image; those of classes that are not voted on do not vote.

    Raises
    ------
    ConfigError
        If the features are of another width: the server compares images by another encoder.
    """
    if len(images) and images.shape[1] != ballot.features.width:
        raise ConfigError(
            f"the server's candidates have {ballot.features.width} features, this client's images {images.shape[1]}: "
            "both need the same image-encoder"
        )
    candidates, scale = ballot.features.array, ballot.scale.array
    by_class: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        by_class.setdefault(label, []).append(i)
    counts: list[int] = []
    for name, rows in zip(ballot.classes, ballot.members, strict=True):
        if not (own := by_class.get(name)):
            counts += [0] * len(rows)
            continue
        choices = candidates[list(rows)]  # (candidates of the class, width)
        # |x - c|^2 without the |x|^2 that all candidates share; of equals the first
        distances = np.square(choices).sum(axis=1) - 2 * (images[own] * scale) @ choices.T
        counts += np.bincount(distances.argmin(axis=1), minlength=len(rows)).tolist()
    return counts


def permitted(payload: PromptPayload, policy: Policy) -> PromptPayload:
    """Return votes without those of too few images, and for no more candidates than an owner permits."""
    if policy.min_images == 1 and not policy.max_prompts:
        return payload
    votes = np.asarray(payload.votes)
    kept = votes >= policy.min_images
    if policy.max_prompts:
        most = np.zeros(len(votes), dtype=bool)
        most[np.argsort(-votes, kind="stable")[: policy.max_prompts]] = True
        kept &= most
    lost = int((~kept & (votes != 0)).sum())
    return replace(payload, votes=tuple(np.where(kept, votes, 0).tolist()), held_back=lost)
