"""What the server makes of a prompt round before anything is drawn: the limits of a payload, and the plan."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source
from fgl_flower.errors import ConfigError, RunError
from fgl_flower.foundation.text import TextEncoder, tokenizer_of
from fgl_flower.limits import Kind, Limits
from fgl_flower.payload import Prompt, PromptPayload
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.settings import settings_for
from strategies.aggregation import Offer, allot, held_images, merge

KINDS: dict[str, Kind] = {"embeddings": "embeddings", "tokens": "tokens"}  # by prompt level; others send text


@lru_cache(maxsize=4)
def _limits(generator: str, revision: str, level: str) -> Limits:
    kind = KINDS.get(level, "text")
    try:
        tokenizer = tokenizer_of(generator, revision)
    except ConfigError:
        if kind != "text":
            raise
        return Limits()  # a pipeline with another kind of tokenizer: texts are counted roughly
    return Limits(
        kind=kind,
        count_tokens=tokenizer.count,
        embedding=(tokenizer.length, tokenizer.width),
    )


def limits_for(config: RunConfig) -> Limits:
    """Return the bounds of a client's payload: those of the run's level, counted with the generator's own tokenizer.

    Raises
    ------
    ModelError
        If the level needs the generator's text encoder and it has none of CLIP's kind.
    """
    return _limits(config.generator, config.generator_revision, config.prompt_level)


def plan_for(config: RunConfig, source: Source, payloads: Sequence[PromptPayload]) -> SynthesisPlan:
    """Return what to draw for these payloads; draws nothing.

    Raises
    ------
    RunError
        If no payload holds a prompt.
    """
    clip = config.max_client_examples
    embeddings: dict[str, np.ndarray] = {}
    if config.prompt_level == "names":  # the control: what could be drawn had nobody sent anything
        texts = {name: config.class_template.format(**{"class": name, "style": ""}) for name in source.classes}
        offers: Sequence[Offer] = [Offer(Prompt(text, name), ()) for name, text in texts.items()]
    elif config.prompt_level == "embeddings":
        offers, embeddings = _embedded(payloads, clip)
    elif config.prompt_level == "tokens":
        offers, embeddings = _learned(config, payloads, clip)
    else:
        offers = merge(payloads, clip)
    if not offers:
        raise RunError("no client sent a prompt: there is nothing to draw")
    budget = config.images_per_class * len({offer.prompt.label for offer in offers})
    rows = allot(
        offers, budget, config.budget_rule, held=held_images(payloads, clip), client_cap=config.max_client_images
    )
    counts = [(p.text, p.label, p.domain, n) for p, n in rows]
    return plan_of(counts, settings_for(config), config.seed, embeddings)


def named(text: str, payload: PromptPayload) -> str:
    """Return the name under which a plan keeps one client's embedding of a prompt."""
    return f"{text} (client {payload.partition})"


def _embedded(payloads: Sequence[PromptPayload], clip: int) -> tuple[list[Offer], dict[str, np.ndarray]]:
    """Return every client's embeddings under names of their own: two clients' means are never the same."""
    offers, embeddings = [], {}
    for payload in payloads:
        for p in payload.prompts:
            name = named(p.text, payload)
            embeddings[name] = payload.arrays[p.text].array
            offers.append(Offer(Prompt(name, p.label, p.domain, min(p.count, clip)), (payload.partition,)))
    return offers, embeddings


def _learned(
    config: RunConfig, payloads: Sequence[PromptPayload], clip: int
) -> tuple[list[Offer], dict[str, np.ndarray]]:
    """Return the prompts without learned tokens, merged, and each client's own with them, encoded, under own names."""
    encoder = TextEncoder.load(config.generator, config.generator_revision)
    plain = [replace(q, prompts=tuple(p for p in q.prompts if not _holds(p, q))) for q in payloads]
    offers, embeddings = list(merge(plain, clip)), {}
    for payload in payloads:
        tokens = {token: vectors.array for token, vectors in payload.arrays.items()}
        prompts = [offer.prompt for offer in merge([payload], clip) if _holds(offer.prompt, payload)]
        if not prompts:
            continue
        for p, encoded in zip(prompts, encoder.encode([p.text for p in prompts], tokens), strict=True):
            name = named(p.text, payload)
            embeddings[name] = encoded.numpy()
            offers.append(Offer(Prompt(name, p.label, p.domain, p.count), (payload.partition,)))
    return offers, embeddings


def _holds(prompt: Prompt, payload: PromptPayload) -> bool:
    return any(token in prompt.text for token in payload.arrays)
