"""The embeddings level under `dp-epsilon`: means of captions' coordinates in a public basis, with noise.

An image gives the group of its class and style one vector of norm 1 at most: its share of the group's count, and its
caption's coordinates (`fgl_flower.levels.public_basis`). The sums of all groups, empty ones included, are one release:
an image changes them by 1 at most. Vectors are cut off to a fine grid, which makes none longer, and get discrete
Gaussian noise on it; with hundreds of steps a standard deviation it is accounted for as continuous noise.

The server adds up what all clients sent of a group. What clients would call one caption's words in many styles it reads
together: by the coordinates of a class, without those of its styles, it finds the public sentences that lie nearest.
"""

import math
from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import Description, Offered
from fgl_flower.levels.offers import Offer
from fgl_flower.levels.public_basis import PublicBasis
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.privacy.noise import noised
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import LARGEST, Vectors

__all__ = ["COUNT", "GRID", "describe_with_noise", "groups", "offer_of_noisy", "vectors_of"]

COUNT = 0.5  # of an image's vector, what it adds to its group's count; the rest is left to the coordinates
_REST = math.sqrt(1 - COUNT**2)
GRID = 1024  # steps of 1
_CLEAR = 2.0  # standard deviations of its noise that a group's sum of counts must reach, but for a class's largest


def groups(config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
    """Return a name for every group of images that a client of the federation could hold."""
    styles = (*domains, "") if config.embedding_groups == "class-style" else ("",)
    return tuple(
        Prompt(f"mean of {', '.join(filter(None, (label, style)))}", label, style)
        for label in classes
        for style in styles
    )


def describe_with_noise(held: Holdings, names: Collection[str], noise: float) -> Description:
    """Return the noisy mean of each group of these classes whose noisy count is at least 1; `held` may be empty.

    Parameters
    ----------
    held : Holdings
        All images count, whatever `max-captions` says: which are chosen would depend on the others.
    names : collection of str
        Classes to speak of.
    noise : float
        Standard deviation, in units of what an image changes at most.
    """
    config = held.config
    prompts = [prompt for prompt in groups(config, held.classes, held.domains) if prompt.label in names]
    places = {(prompt.label, prompt.domain): i for i, prompt in enumerate(prompts)}
    sums = np.zeros((len(prompts), 1 + config.dp_dimensions), dtype=np.int64)
    if len(held):
        styles = held.image_domains if config.embedding_groups == "class-style" else [""] * len(held)
        rows = [places.get(group) for group in zip(held.labels, styles, strict=True)]
        vectors = vectors_of(_coordinates(PublicBasis.of(config, held.domains), tuple(held.captions())))
        for row, vector in zip(rows, vectors, strict=True):
            if row is not None:
                sums[row] += vector
    told = np.array(noised(sums.ravel().tolist(), noise * GRID), dtype=np.float64).reshape(sums.shape) / GRID
    kept, arrays = [], {}
    for prompt, row in zip(prompts, told, strict=True):
        count = round(row[0] / COUNT)
        if count >= 1:
            kept.append(Prompt(prompt.text, prompt.label, prompt.domain, count))
            arrays[prompt.text] = Vectors.of(np.clip(row[None, 1:] / _REST / count, -LARGEST, LARGEST))
    return Description(tuple(sorted(kept)), arrays)


@lru_cache(maxsize=4)  # an audit asks for the same ones thousands of times
def _coordinates(basis: PublicBasis, captions: tuple[str, ...]) -> np.ndarray:
    return basis.coordinates(captions)


def vectors_of(coordinates: np.ndarray) -> np.ndarray:
    """Return what an image adds to its group, (images, 1 + dimensions) int64 in steps of the grid.

    Its norm is at most that of 1: coordinates have at most that of 1, and steps are cut off toward zero.
    """
    counts = np.full((len(coordinates), 1), COUNT * GRID)
    return np.trunc(np.concatenate([counts, coordinates * (_REST * GRID)], axis=1)).astype(np.int64)


def offer_of_noisy(payloads: Sequence[PromptPayload], config: RunConfig) -> Offered:
    """Return what is drawn for the noisy means of all clients.

    `embedding-centre = "medoid"`: of each class the words of the nearest public sentence, in each of its styles; kinds
    of words in which its captions differ are filled in evenly, in `embedding-clusters` ways. "mean": the embedding at
    the mean itself. Groups that noise alone could give are left out.
    """
    counts: dict[tuple[str, str], int] = {}
    sums: dict[tuple[str, str], np.ndarray] = {}
    senders: dict[tuple[str, str], set[int]] = {}
    for payload in payloads:
        for p in payload.prompts:
            group, count = (p.label, p.domain), min(p.count, config.max_client_examples)
            counts[group] = counts.get(group, 0) + count
            sums[group] = sums.get(group, 0.0) + count * payload.arrays[p.text].array[0].astype(np.float64)
            senders.setdefault(group, set()).add(payload.partition_id)
    source = load_source(config)
    basis, promise = PublicBasis.of(config, source.domains), Guarantee.of(config, len(source.private))
    noise = promise.noise / COUNT if promise else 0.0  # of a client's count
    offers: list[Offer] = []
    embeddings: dict[str, np.ndarray] = {}
    for label in sorted({label for label, _ in counts}):
        styles = sorted(style for name, style in counts if name == label)
        largest = max(styles, key=lambda style: counts[label, style])
        clear = {s for s in styles if counts[label, s] >= _CLEAR * noise * math.sqrt(len(senders[label, s]))}
        styles = sorted({largest} | clear)
        if config.embedding_centre == "mean":
            for style in styles:
                name = f"mean of {', '.join(filter(None, (label, style)))}"
                embeddings[name] = basis.embedding(sums[label, style] / counts[label, style])
                offers.append(_offer(name, label, style, counts[label, style], senders[label, style]))
            continue
        total = sum(counts[label, style] for style in styles)
        words = sum(sums[label, style] - counts[label, style] * basis.offset(style) for style in styles) / total
        found = basis.nearest(np.asarray(words), largest)
        for number, style in enumerate(styles):
            filled = basis.fillings(found, config.embedding_clusters, config.seed + number)
            share = max(1, counts[label, style] // len(filled))
            texts = [basis.prompt(one, style, label) for one in filled]
            offers += [_offer(text, label, style, share, senders[label, style]) for text in texts]
    return Offered(tuple(sorted(offers, key=lambda offer: offer.prompt)), embeddings)


def _offer(text: str, label: str, style: str, count: int, senders: set[int]) -> Offer:
    return Offer(Prompt(text, label, style, count), tuple(sorted(senders)))
