"""What the server makes of a prompt round before anything is drawn: the limits of a payload, and the plan."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache

from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError, ModelError, RunError
from fgl_flower.foundation.encoders import embedding_shape, token_width
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.truncation import truncation_for
from fgl_flower.foundation.vocabulary import unknown_names_note, unreadable
from fgl_flower.levels.auto import LADDER
from fgl_flower.levels.level import level_of
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.wire.limits import Kind, Limits
from fgl_flower.wire.payload import PromptPayload
from fgl_flower.wire.vectors import FLOAT16, TOKEN_HEADER_LIMIT
from strategies.budget import allot, held_images
from strategies.inquiry import Inquiry, Log


@lru_cache(maxsize=4)
def _limits(origin: Origin, kind: Kind) -> Limits:
    try:
        tokenizer = tokenizer_of(origin)
    except ConfigError:
        if kind not in {"text", "votes"}:
            raise
        return Limits(kind=kind)  # a pipeline with another kind of tokenizer: texts are counted roughly
    return Limits(
        kind=kind,
        count_tokens=tokenizer.count,
        embedding=embedding_shape(origin).packed,
        token_width=token_width(origin),
    )


def notes_on(config: RunConfig, plan: SynthesisPlan) -> list[str]:
    """Return what a user should know of a plan before it is drawn, a sentence each."""
    texts = [(text, label) for label, _, text, _ in plan.rows() if text not in plan.embeddings]
    truncation, tokens = truncation_for(config, texts)
    note = truncation.sentence(tokens) if truncation else ""
    unread = unknown_names_note(config, (label for text, label in texts if label in text))
    return [*plan.warnings, *filter(None, (note, unread))]


def limits_for(config: RunConfig) -> Limits:
    """Return the bounds of a client's payload: those of the run's level, counted with the generator's own tokenizer.

    They may take what an honest client sends that holds every class and domain and captions all that it may: many
    classes of a wide text encoder, or many captions, take more than the usual bounds.

    Raises
    ------
    DataError
        If the data set, whose classes count, is missing.
    ModelError
        If the level needs the generator's text encoder and it has none of CLIP's kind.
    """
    kind = level_of(config.prompt_level).kind
    if config.prompt_level != "auto":
        return _limits_of_kind(config, kind)
    kinds = {level_of(level).kind for level in ladder(config)}
    found = [_limits_of_kind(config, kind) for kind in sorted(kinds)]
    widest = {f.name: max(getattr(limits, f.name) for limits in found) for f in fields(Limits) if f.type is int}
    embedding = next((limits.embedding for limits in found if limits.embedding), None)
    return replace(found[0], kind="any", embedding=embedding, **widest)


def inquiry_of(config: RunConfig, classes: Sequence[str], *, evaluates: bool, log: Log = lambda event: None) -> Inquiry:
    """Return what clients of a run are asked: its level alone or, with "auto", as many as it takes.

    Raises
    ------
    ConfigError
        At the level "votes", whose questions need drawn images: see `strategies.evolution`.
    """
    if config.prompt_level == "votes":
        raise ConfigError(
            "prompt-level = 'votes': clients answer candidates that the server draws for them, which only a run does "
            "(fgl run); there is no reply to show before it"
        )
    default = config.instance_template == RunConfig.model_fields["instance_template"].default
    return Inquiry(
        classes,
        unreadable(config, classes) if default else (),
        ladder(config) if config.prompt_level == "auto" and evaluates else (),
        config.transfer_goal,
        config.max_client_bytes,
        evaluates=evaluates,
        log=log,
    )


def ladder(config: RunConfig) -> list[str]:
    """Return the levels that `prompt-level = "auto"` may ask for: those that the run's generator can draw from."""
    return [level for level in LADDER if level_of(level).kind == "text" or _takes(config, level)]


def _takes(config: RunConfig, level: str) -> bool:
    try:
        check_generator(config.model_copy(update={"prompt_level": level}))
    except ModelError:
        return False
    return True


def _limits_of_kind(config: RunConfig, kind: Kind) -> Limits:
    limits = _limits(Origin.configured(config), kind)
    source = load_source(config)
    classes, domains = len(source.classes), len(source.domains)
    if limits.kind == "votes":
        votes = classes * config.vote_candidates
        most = 64 * 1024 + votes * 12  # digits of a noisy count, its comma
        return replace(limits, votes=votes, data_bytes=most, inflated_bytes=max(limits.inflated_bytes, most))
    if limits.kind == "text" or limits.embedding is None:
        prompts = max(config.max_captions, classes * (domains + 1))
        return replace(
            limits,
            prompts=max(limits.prompts, prompts),
            tokens=max(limits.tokens, prompts * 64),
            data_bytes=max(limits.data_bytes, prompts * 64),  # compressed
            inflated_bytes=max(limits.inflated_bytes, prompts * 256),
        )
    tokens, width = limits.embedding
    if limits.kind == "embeddings" and config.dp_epsilon:  # a few coordinates of each group
        limits = replace(limits, embedding=(1, config.dp_dimensions))
        prompts = arrays = classes * (domains + 1)
        each = config.dp_dimensions * FLOAT16.itemsize
    elif limits.kind == "embeddings":
        groups = classes * (domains + 1 if config.embedding_groups == "class-style" else 1)  # + 1: of unknown domain
        prompts = arrays = min(groups * config.embedding_clusters, config.max_captions)  # each is of an image at least
        each = tokens * width * FLOAT16.itemsize
    else:
        prompts = config.max_captions if config.token_prompts == "captions" else classes * (domains + 1)
        arrays = classes if config.token_subject == "class" else domains
        each = config.token_vectors * limits.token_width * FLOAT16.itemsize + TOKEN_HEADER_LIMIT
    places = arrays * tokens * 6 if limits.kind == "embeddings" else 0  # digits and comma of a place
    return replace(
        limits,
        array_bytes=max(limits.array_bytes, arrays * each),
        prompts=max(limits.prompts, prompts),
        data_bytes=max(limits.data_bytes, places),
        inflated_bytes=max(limits.inflated_bytes, prompts * 256 + places),
    )


def plan_for(config: RunConfig, classes: Sequence[str], payloads: Sequence[PromptPayload]) -> SynthesisPlan:
    """Return what to draw for these payloads; draws nothing.

    Raises
    ------
    RunError
        If no payload holds a prompt, or of a class only such as the generator reads like one of another class.
    """
    offered = level_of(config.prompt_level).offer(payloads, config, classes)
    if not offered.offers:
        raise RunError("no client sent a prompt: there is nothing to draw")
    texts = [(o.prompt.text, o.prompt.label) for o in offered.offers if o.prompt.text not in offered.embeddings]
    truncation, tokens = truncation_for(config, texts)
    offers, warnings = list(offered.offers), []
    if truncation and truncation.clash:
        # What clients wrote must not end a run: their prompts that show two classes are left out, others stand in.
        warning = truncation.sentence(tokens)
        offers = [o for o in offers if (o.prompt.text, o.prompt.label) not in truncation.mixed]
        if lost := {o.prompt.label for o in offered.offers} - {o.prompt.label for o in offers}:
            raise RunError(f"{warning} (nothing is left to draw of {', '.join(sorted(lost))})")
        warnings.append(f"{len(offered.offers) - len(offers):,} prompts are left out: {warning}")
    budget = config.images_per_class * len({offer.prompt.label for offer in offers})
    held = held_images(payloads, config.max_client_examples)
    rows = allot(offers, budget, config.budget_rule, held=held, client_cap=config.max_client_images)
    counts = [(p.text, p.label, p.domain, n) for p, n in rows]
    return plan_of(counts, settings_for(config), config.seed, offered.embeddings, warnings)
