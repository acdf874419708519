"""What the server makes of a prompt round before anything is drawn: the limits of a payload, and the plan."""

from collections.abc import Sequence
from functools import lru_cache

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, RunError
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.levels.level import level_of
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.wire.limits import Kind, Limits
from fgl_flower.wire.payload import PromptPayload
from strategies.budget import allot, held_images


@lru_cache(maxsize=4)
def _limits(generator: str, revision: str, kind: Kind) -> Limits:
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


def limits_for(config: RunConfig, classes: int = 0, styles: int = 0) -> Limits:
    """Return the bounds of a client's payload: those of the run's level, counted with the generator's own tokenizer.

    Parameters
    ----------
    config : RunConfig
    classes, styles : int
        The federation's; what one client may send of arrays at this level is never above the bounds.

    Raises
    ------
    ModelError
        If the level needs the generator's text encoder and it has none of CLIP's kind.
    """
    limits = _limits(config.generator, config.generator_revision, level_of(config.prompt_level).kind)
    if limits.kind == "text" or limits.embedding is None:
        return limits
    tokens, width = limits.embedding
    if limits.kind == "embeddings":
        groups = classes * (max(1, styles) + 1 if config.embedding_groups == "class-style" else 1)  # +1: no style
        arrays, rows = groups * config.embedding_clusters, tokens
    else:
        arrays, rows = (classes if config.token_subject == "class" else styles), config.token_vectors
    sent = arrays * (rows * width * FLOAT16_BYTES + ARRAY_OVERHEAD)
    prompts = arrays if limits.kind == "embeddings" else classes * (styles + 1)
    return replace(
        limits, array_bytes=max(limits.array_bytes, sent), prompts=max(limits.prompts, prompts)
    )


def plan_for(config: RunConfig, classes: Sequence[str], payloads: Sequence[PromptPayload]) -> SynthesisPlan:
    """Return what to draw for these payloads; draws nothing.

    Raises
    ------
    RunError
        If no payload holds a prompt.
    """
    offered = level_of(config.prompt_level).offer(payloads, config, classes)
    if not offered.offers:
        raise RunError("no client sent a prompt: there is nothing to draw")
    budget = config.images_per_class * len({offer.prompt.label for offer in offered.offers})
    held = held_images(payloads, config.max_client_examples)
    rows = allot(offered.offers, budget, config.budget_rule, held=held, client_cap=config.max_client_images)
    counts = [(p.text, p.label, p.domain, n) for p, n in rows]
    return plan_of(counts, settings_for(config), config.seed, offered.embeddings)
