"""Text embeddings of captions as prompt embeddings: one for each cluster of a client's captions of a group.

After OSCAR (Yang et al., arXiv 2302.08964), which averages what an image encoder says of the images of a category. Here
the text encoder of the generator itself reads their captions, so a whole (tokens, width) prompt embedding needs no
further model to be drawn from. A mean over captions is the embedding of no caption: words stand at other places, and
what is drawn of it shows several things at once. By default a cluster is therefore spoken for by its medoid, the
caption nearest to its mean.

Vectors of one word in two captions are nearly the same, so a client's vectors are quantised together (vector
quantisation by k-means) and each different one travels once: see `fgl_flower.wire.codec`.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.foundation.encoders import PROMPTS_PER_CALL, PromptEncoder
from fgl_flower.foundation.origin import Origin
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.instance import caption_prompts
from fgl_flower.levels.level import Description, Level, Offered
from fgl_flower.levels.noisy_embeddings import describe_with_noise, groups, offer_of_noisy
from fgl_flower.levels.offers import Offer, own_name
from fgl_flower.levels.public_basis import caption_vocabulary, check_room
from fgl_flower.privacy.accountant import Release
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import Vectors

_FITTED = 20_000  # vectors that k-means looks at, at most: wide encoders and many captions would take minutes


class Embeddings(Level):
    """Medoids or means of the captions' text embeddings, by class, or by class and domain, in one or more clusters."""

    kind = "embeddings"
    client_models = frozenset({"captioner", "text-encoder"})

    def describe(self, held: Holdings) -> Description:
        """Return (tokens, width) embeddings by the texts of the prompts that name them."""
        config, chosen = held.config, held.chosen()
        domains = chosen.image_domains if config.embedding_groups == "class-style" else [""] * len(chosen)
        groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for label, domain, text in zip(chosen.labels, domains, caption_prompts(chosen), strict=True):
            groups[label, domain][text] += 1
        encoder = _encoder(Origin.configured(config))
        names, embeddings, prompts = [], [], []
        for (label, domain), counts in sorted(groups.items()):
            weights = np.array(list(counts.values()), dtype=np.float64)
            encoded = encoder.encode(list(counts)).numpy()  # (texts, tokens, width)
            cluster = _clusters(encoded, weights, config.embedding_clusters, config.seed)
            for number in np.unique(cluster):
                members = cluster == number
                name = (
                    f"{config.embedding_centre} of {', '.join(part for part in (label, domain) if part)}, {number + 1}"
                )
                names.append(name)
                embeddings.append(_centre(encoded[members], weights[members], config.embedding_centre))
                prompts.append(Prompt(name, label, domain, int(weights[members].sum())))
        sent = quantise(np.stack(embeddings), config.embedding_vectors, config.seed)
        return Description(tuple(sorted(prompts)), dict(zip(names, map(Vectors.of, sent), strict=True)))

    def stands_for(self, held: Holdings, description: Description) -> list[str]:
        """Return, for each image, the embedding of its group that is nearest to the embedding of its caption."""
        by_class = held.config.embedding_groups != "class-style"
        domains = ["" if by_class else domain for domain in held.image_domains]
        rows = list(zip(caption_prompts(held), held.labels, domains, strict=True))
        groups_of = defaultdict(set)
        for text, label, domain in rows:
            groups_of[text].add((label, domain))
        encoder, different = _encoder(Origin.configured(held.config)), list(groups_of)
        arrays = {name: vectors.array for name, vectors in description.arrays.items()}
        nearest: dict[tuple[str, str, str], str] = {}
        for start in range(0, len(different), PROMPTS_PER_CALL):  # Flux's embeddings of all captions are gigabytes
            part = different[start : start + PROMPTS_PER_CALL]
            for text, encoded in zip(part, encoder.encode(part).numpy(), strict=True):  # (tokens, width) each
                for label, domain in groups_of[text]:
                    group = [p.text for p in description.prompts if (p.label, p.domain) == (label, domain)]
                    distances = {name: float(np.square(arrays[name] - encoded).sum()) for name in group}
                    nearest[text, label, domain] = min(distances, key=distances.__getitem__, default="")  # "": not sent
        return [nearest[row] for row in rows]

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return how an embedding is named."""
        return {"prompt-level = 'embeddings'": f"{config.embedding_centre} of {{class}}, {{style}}, 1"}

    def universe(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
        """Return a name of every group."""
        return groups(config, classes, domains)

    def check(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> None:
        """Refuse noise on captions of unknown words, and on embeddings that this machine has no room for."""
        if config.dp_epsilon:
            caption_vocabulary(config, domains)
            check_room(config)

    def releases(self, config: RunConfig) -> tuple[Release, ...]:
        """Return one list of real numbers."""
        return (Release("prompts", continuous=True),)

    def with_noise(self, held: Holdings, classes: Collection[str], noise: float) -> Description:
        """Return noisy means in a public basis."""
        return describe_with_noise(held, classes, noise)

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return every client's embeddings under names of their own: those of two clients are never the same.

        Under `dp-epsilon` the noisy means of all clients together, see `fgl_flower.levels.noisy_embeddings`.
        """
        if config.dp_epsilon:
            return offer_of_noisy(payloads, config)
        offers, embeddings = [], {}
        for payload in payloads:
            for p in payload.prompts:
                name = own_name(p.text, payload)
                embeddings[name] = payload.arrays[p.text].array
                count = min(p.count, config.max_client_examples)
                offers.append(Offer(Prompt(name, p.label, p.domain, count), (payload.partition_id,)))
        return Offered(offers, embeddings)


def quantise(embeddings: np.ndarray, vectors: int, seed: int) -> np.ndarray:
    """Return embeddings whose vectors are replaced by the nearest of at most `vectors` different ones.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (embeddings, tokens, width) float32.
    vectors : int
        Vectors that k-means finds among those of all embeddings; 0: they stay as they are.
    seed : int
        Of k-means.
    """
    rows = embeddings.reshape(-1, embeddings.shape[-1])
    if not vectors or len(rows) <= vectors:
        return embeddings
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    fitted = rows if len(rows) <= _FITTED else rows[rng.choice(len(rows), _FITTED, replace=False)]
    means = KMeans(vectors, n_init=1, random_state=seed).fit(fitted)
    return means.cluster_centers_[means.predict(rows)].astype(np.float32).reshape(embeddings.shape)


def _centre(encoded: np.ndarray, weights: np.ndarray, centre: str) -> np.ndarray:
    """Return the (tokens, width) embedding that speaks for a cluster of (texts, tokens, width)."""
    mean = np.average(encoded, axis=0, weights=weights)
    if centre == "mean":
        return mean
    distances = np.square(encoded - mean).sum(axis=(1, 2))
    return encoded[np.lexsort((-weights, distances.round(3)))[0]]  # of two as near the more frequent


def _clusters(encoded: np.ndarray, weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each text, 0 to at most `count` - 1; (texts,) int."""
    rows = encoded.reshape(len(encoded), -1)
    different = len(np.unique(rows, axis=0))  # long captions may be cut off to the same tokens
    if min(count, different) == 1:
        return np.zeros(len(encoded), dtype=int)
    from sklearn.cluster import KMeans

    return KMeans(min(count, different), n_init=3, random_state=seed).fit_predict(rows, sample_weight=weights)


@lru_cache(maxsize=1)
def _encoder(origin: Origin) -> PromptEncoder:
    return PromptEncoder.load(origin)
