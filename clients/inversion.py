"""Learned tokens: what a client teaches the frozen generator about its images, in a few vectors a class or style."""

from functools import lru_cache

import numpy as np
import torch

from clients.captions import chosen, count, names
from clients.data import Client
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.inversion import encode_images, invert, load_for_inversion
from fgl_flower.foundation.text import TextEncoder
from fgl_flower.learning.images import decode
from fgl_flower.payload import Prompt, token_of
from fgl_flower.vectors import Vectors


def learned_tokens(client: Client) -> tuple[tuple[Prompt, ...], dict[str, Vectors]]:
    """Return the client's prompts, in which tokens stand for its classes or styles, and the tokens' vectors.

    The prompts are those of the class-style level, with ``<fish>`` for "fish" or ``<neon>`` for "neon".
    """
    config, dataset = client.config, chosen(client)
    labels, domains = names(client, dataset)
    subjects = labels if config.token_subject == "class" else domains
    texts = [_text(client, label, domain) for label, domain in zip(labels, domains, strict=True)]
    generator = _generator(config.generator, config.generator_revision, config.device)
    encoder = TextEncoder.of(generator)
    initial = {
        token_of(name): _start(encoder, name, config.token_vectors, config.seed)
        for name in sorted(set(subjects) - {""})
    }
    pixels = decode(dataset, generator.card.size).pixels
    found = invert(
        generator,
        encode_images(generator, pixels),
        texts,
        initial,
        steps=config.token_steps,
        lr=config.token_lr,
        seed=config.seed * 1_000_003 + client.partition,
    )
    return count(texts, labels, domains), {token: Vectors.of(array) for token, array in found.items()}


def _text(client: Client, label: str, domain: str) -> str:
    config = client.config
    template = config.prompt_template if domain else config.class_template
    if config.token_subject == "class":
        return template.format(**{"class": token_of(label), "style": domain})
    return template.format(**{"class": label, "style": token_of(domain) if domain else ""})


def _start(encoder: TextEncoder, name: str, vectors: int, seed: int) -> np.ndarray:
    """Return the vectors that learning starts from: the name's own words, then a little noise.

    A word that the generator knows is a good start; one that it does not is as good as noise.
    """
    words = encoder.words(name)[:vectors]
    rng = torch.Generator().manual_seed(seed)
    rest = torch.randn(vectors - len(words), words.shape[1], generator=rng) * words.std()
    return torch.cat([words.cpu(), rest]).numpy()


@lru_cache(maxsize=1)
def _generator(model_id: str, revision: str, device: str) -> Generator:
    return load_for_inversion(model_id, revision, device)
