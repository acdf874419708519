"""Mean text embeddings of a client's captions, after OSCAR (Yang et al., arXiv 2302.08964), as prompt embeddings.

OSCAR averages what an image encoder says of the images of a category; here the text encoder of the generator itself
reads their captions, and the mean over them, a whole (tokens, width) prompt embedding, needs no further model to be
drawn from. With several clusters a group's captions are split by k-means first, so that a mean need not blur what is
different.
"""

from collections import Counter, defaultdict
from functools import lru_cache

import numpy as np

from clients.captions import captions, chosen, names, texts
from clients.data import Client
from fgl_flower.foundation.text import TextEncoder
from fgl_flower.wire.payload import Prompt
from fgl_flower.wire.vectors import Vectors


def mean_embeddings(client: Client) -> tuple[tuple[Prompt, ...], dict[str, Vectors]]:
    """Return the client's embeddings, (tokens, width) each, by the texts of the prompts that name them."""
    config, dataset = client.config, chosen(client, client.dataset)
    labels, domains = names(client, dataset)
    told = texts(config, captions(client, dataset), labels, domains)
    if config.embedding_groups == "class":
        domains = [""] * len(labels)
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for label, domain, text in zip(labels, domains, told, strict=True):
        groups[label, domain][text] += 1
    encoder = _encoder(config.generator, config.generator_revision)
    prompts, arrays = [], {}
    for (label, domain), counted in sorted(groups.items()):
        weights = np.array(list(counted.values()), dtype=np.float64)
        encoded = encoder.encode(list(counted)).numpy()  # (texts, tokens, width)
        cluster = _clusters(encoded, weights, config.embedding_clusters, config.seed)
        for number in np.unique(cluster):
            members = cluster == number
            name = f"mean of {', '.join(part for part in (label, domain) if part)}, {number + 1}"
            arrays[name] = Vectors.of(np.average(encoded[members], axis=0, weights=weights[members]))
            prompts.append(Prompt(name, label, domain, int(weights[members].sum())))
    return tuple(sorted(prompts)), arrays


def _clusters(encoded: np.ndarray, weights: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the cluster of each text, 0 to at most `count` - 1; (texts,) int."""
    if count == 1 or len(encoded) == 1:
        return np.zeros(len(encoded), dtype=int)
    from sklearn.cluster import KMeans

    means = KMeans(min(count, len(encoded)), n_init=3, random_state=seed)
    return means.fit_predict(encoded.reshape(len(encoded), -1), sample_weight=weights)


@lru_cache(maxsize=1)
def _encoder(model_id: str, revision: str) -> TextEncoder:
    return TextEncoder.load(model_id, revision)
