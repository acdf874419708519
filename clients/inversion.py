"""Learned tokens: what a client teaches the frozen generator about its images, in a few vectors a class or style."""

from functools import lru_cache

import numpy as np
import torch

from clients.captions import chosen, count, names
from clients.data import Client
from fgl_flower.config import RunConfig
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.inversion import encode_images, invert, load_for_inversion
from fgl_flower.foundation.text import TextEncoder
from fgl_flower.learning.images import decode
from fgl_flower.wire.payload import Prompt, token_of
from fgl_flower.wire.vectors import Vectors


def learned_tokens(client: Client) -> tuple[tuple[Prompt, ...], dict[str, Vectors]]:
    """Return the client's prompts, in which tokens stand for its classes or styles, and the tokens' vectors.

    The prompts are those of the class-style level, with ``<fish>`` for "fish" or ``<neon>`` for "neon". Where
    `token-names` lists some, the others go by words and only images of the listed ones are learned from.
    """
    config, dataset = client.config, client.dataset
    labels, domains = names(client, dataset)
    listed = {name.strip() for name in config.token_names.split(",") if name.strip()}
    subjects = labels if config.token_subject == "class" else domains
    learned = [name if name and (not listed or name in listed) else "" for name in subjects]
    prompts = count([_text(config, *row) for row in zip(labels, domains, learned, strict=True)], labels, domains)
    if not any(learned):
        return prompts, {}

    dataset = chosen(client, dataset.select([i for i, name in enumerate(learned) if name]))
    labels, domains = names(client, dataset)
    subjects = labels if config.token_subject == "class" else domains
    generator = _generator(config.generator, config.generator_revision, config.device)
    encoder = TextEncoder.of(generator)
    found = invert(
        generator,
        encode_images(generator, decode(dataset, generator.card.size).pixels),
        [_text(config, *row) for row in zip(labels, domains, subjects, strict=True)],
        {token_of(n): _start(encoder, n, config.token_vectors, config.seed) for n in sorted(set(subjects))},
        steps=config.token_steps,
        lr=config.token_lr,
        seed=config.seed * 1_000_003 + client.partition,
    )
    return prompts, {token: Vectors.of(array) for token, array in found.items()}


def _text(config: RunConfig, label: str, domain: str, learned: str) -> str:
    """Return an image's prompt, with the token of the class or style `learned` in place of its name ("": none)."""
    template = config.prompt_template if domain else config.class_template
    said = {"class": label, "style": domain}
    if learned:
        said[config.token_subject] = token_of(learned)
    return template.format(**said)


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
