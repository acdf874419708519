"""Mean text embeddings of captions, after OSCAR (Yang et al., arXiv 2302.08964), as prompt embeddings.

OSCAR averages what an image encoder says of the images of a category; here the text encoder of the generator itself
reads their captions, and the mean over them, a whole (tokens, width) prompt embedding, needs no further model to be
drawn from. With several clusters a group's captions are split by k-means first, so that a mean need not blur what is
different.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.foundation.text import TextEncoder
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.instance import caption_prompts
from fgl_flower.levels.level import Description, Level, Offered
from fgl_flower.levels.offers import Offer, own_name
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import Vectors


class Embeddings(Level):
    """Means of the captions' text embeddings, by class, or by class and domain, in one or more clusters."""

    kind = "embeddings"
    client_models = frozenset({"captioner", "text-encoder"})

    def describe(self, held: Holdings) -> Description:
        """Return (tokens, width) embeddings by the texts of the prompts that name them."""
        config, chosen = held.config, held.chosen()
        domains = chosen.image_domains if config.embedding_groups == "class-style" else [""] * len(chosen)
        groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for label, domain, text in zip(chosen.labels, domains, caption_prompts(chosen), strict=True):
            groups[label, domain][text] += 1
        encoder = _encoder(config.generator, config.generator_revision)
        prompts, arrays = [], {}
        for (label, domain), counts in sorted(groups.items()):
            weights = np.array(list(counts.values()), dtype=np.float64)
            encoded = encoder.encode(list(counts)).numpy()  # (texts, tokens, width)
            cluster = _clusters(encoded, weights, config.embedding_clusters, config.seed)
            for number in np.unique(cluster):
                members = cluster == number
                name = f"mean of {', '.join(part for part in (label, domain) if part)}, {number + 1}"
                arrays[name] = Vectors.of(np.average(encoded[members], axis=0, weights=weights[members]))
                prompts.append(Prompt(name, label, domain, int(weights[members].sum())))
        return Description(tuple(sorted(prompts)), arrays)

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return how an embedding is named."""
        return {"prompt-level = 'embeddings'": "mean of {class}, {style}, 1"}

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return every client's embeddings under names of their own: two clients' means are never the same."""
        offers, embeddings = [], {}
        for payload in payloads:
            for p in payload.prompts:
                name = own_name(p.text, payload)
                embeddings[name] = payload.arrays[p.text].array
                count = min(p.count, config.max_client_examples)
                offers.append(Offer(Prompt(name, p.label, p.domain, count), (payload.partition_id,)))
        return Offered(offers, embeddings)


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
