"""Learned tokens: what a client teaches the frozen generator about its images, in a few vectors a class or domain."""

import difflib
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from logging import INFO

import numpy as np
import torch
from flwr.supercore import log

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.inversion import encode_images, invert, load_for_inversion
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import Tokenizer, tokenizer_of
from fgl_flower.learning.images import decode
from fgl_flower.levels.holdings import Holdings, counted
from fgl_flower.levels.instance import Instance
from fgl_flower.levels.level import ClientModel, Description, Level, Offered
from fgl_flower.levels.offers import Offer, merge, own_name
from fgl_flower.levels.templates import caption_prompt, class_prompt
from fgl_flower.wire.payload import Prompt, PromptPayload, token_of
from fgl_flower.wire.vectors import Vectors


class Tokens(Level):
    """Captions or class-style prompts with ``<fish>`` for "fish" or ``<neon>`` for "neon", and what these mean.

    A token that stands in a caption need only say what the caption does not: what is drawn of it varies as the captions
    do. Where `token-names` lists some, the others go by words and only images of the listed ones are learned from.
    """

    kind = "tokens"
    client_models = frozenset({"captioner", "text-encoder", "generator"})

    def models(self, config: RunConfig) -> frozenset[ClientModel]:
        """Return all of them, but no captioner for prompts by class and domain."""
        return self.client_models - ({"captioner"} if config.token_prompts == "class-style" else set())

    def describe(self, held: Holdings) -> Description:
        """Learn the vectors of each token by textual inversion."""
        config = held.config
        if config.token_prompts == "captions":
            held = held.chosen()
        subjects, texts = _texts(held)
        prompts = counted(texts, held.labels, held.image_domains)
        if not any(subjects):
            return Description(prompts)

        some = [i for i, name in enumerate(subjects) if name]
        some = [some[i] for i in held.select(some).evenly()]
        chosen = held.select(some)
        generator = _generator(Origin.configured(config), config.device)
        encoder = PromptEncoder.of(generator)
        log(
            INFO,
            "learning %d tokens from %d images, %d steps at most",
            len({*subjects} - {""}),
            len(some),
            config.token_steps,
        )
        began = time.monotonic()
        learned = invert(
            generator,
            encode_images(generator, decode(chosen.dataset, generator.card.size).pixels),
            [texts[i] for i in some],
            {token_of(n): _start(encoder, n, config.token_vectors, config.seed) for n in sorted({*subjects} - {""})},
            steps=config.token_steps,
            lr=config.token_lr,
            seed=config.seed * 1_000_003 + held.partition_id,
        )
        seconds = math.ceil(time.monotonic() - began)
        log(INFO, "learned them in %d s and %d steps", seconds, learned.steps)
        return Description(prompts, {token: Vectors.of(array) for token, array in learned.vectors.items()}, seconds)

    def offer(self, payloads: Sequence[PromptPayload], config: RunConfig, classes: Sequence[str]) -> Offered:
        """Return the prompts without tokens, merged, and each client's own with tokens, encoded, under own names."""
        clip = config.max_client_examples
        encoder = PromptEncoder.load(Origin.configured(config))
        plain = [replace(q, prompts=tuple(p for p in q.prompts if not _holds(p, q))) for q in payloads]
        offers, embeddings = list(merge(plain, clip)), {}
        for payload in payloads:
            tokens = {token: vectors.array for token, vectors in payload.arrays.items()}
            prompts = [offer.prompt for offer in merge([payload], clip) if _holds(offer.prompt, payload)]
            if not prompts:
                continue
            for p, encoded in zip(prompts, encoder.encode([p.text for p in prompts], tokens), strict=True):
                name = own_name(p.text, payload)
                embeddings[name] = encoded.numpy()
                offers.append(Offer(Prompt(name, p.label, p.domain, p.count), (payload.partition_id,)))
        return Offered(offers, embeddings)

    def stands_for(self, held: Holdings, description: Description) -> list[str] | None:
        """Return the prompt of each image's caption; None where prompts name class and domain alone."""
        return _texts(held)[1] if held.config.token_prompts == "captions" else None

    def templates(self, config: RunConfig) -> dict[str, str]:
        """Return the templates of a class, of a class in a domain and, where tokens stand in them, of a caption."""
        result = {"class-template": config.class_template, "prompt-template": config.prompt_template}
        return result if config.token_prompts == "class-style" else {**result, **Instance().templates(config)}

    def check(self, config: RunConfig, classes: Sequence[str], domains: Sequence[str]) -> None:
        """Refuse a template without place for tokens, `token-names` that are unknown, and names that share a token."""
        for key, template in self.templates(config).items():
            if (place := f"{{{config.token_subject}}}") not in template and not (
                key == "class-template" and config.token_subject == "style"
            ):
                raise ConfigError(
                    f"{key} = {template!r} has no {place}, which a learned {config.token_subject} stands for"
                )
        by_token: dict[str, str] = {}
        for name in (*classes, *domains):
            if (other := by_token.setdefault(token_of(name), name)) != name:
                raise DataError(f"the names {other!r} and {name!r} would share the learned token {token_of(name)}")
        known = classes if config.token_subject == "class" else domains
        for name in token_names(config):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"these are {', '.join(known)}"
                raise ConfigError(
                    f"token-names = {config.token_names!r}: {name!r} is no {config.token_subject}; {hint}"
                )


def token_names(config: RunConfig) -> list[str]:
    """Return the classes or domains that `token-names` lists; empty: all are to be learned."""
    return [name.strip() for name in config.token_names.split(",") if name.strip()]


def _subjects(held: Holdings) -> list[str]:
    return held.labels if held.config.token_subject == "class" else held.image_domains


def _texts(held: Holdings) -> tuple[list[str], list[str]]:
    """Return what is learned from each image (class or domain; "": nothing), and the prompt of each."""
    config = held.config
    captions = held.captions() if config.token_prompts == "captions" else [""] * len(held)
    listed = set(token_names(config))
    subjects = [name if name and (not listed or name in listed) else "" for name in _subjects(held)]
    tokenizer = tokenizer_of(Origin.configured(config))
    rows = zip(held.labels, held.image_domains, subjects, captions, strict=True)
    return subjects, [_text(config, tokenizer, *row) for row in rows]


def _text(config: RunConfig, tokenizer: Tokenizer, label: str, domain: str, subject: str, caption: str) -> str:
    """Return an image's prompt, with the token of the class or domain `subject` in place of its name ("": none).

    Where the generator would not read a token to its end, behind a long caption, the prompt does without the caption.
    """
    if subject and config.token_subject == "class":
        label = token_of(subject)
    elif subject:
        domain = token_of(subject)
    if caption:
        text = caption_prompt(config, label, domain, caption)
        if (
            not subject
            or len(tokenizer.ids(text, {token_of(subject): config.token_vectors})[1]) >= config.token_vectors
        ):
            return text
    return class_prompt(config, label, domain)


def _holds(prompt: Prompt, payload: PromptPayload) -> bool:
    return any(token in prompt.text for token in payload.arrays)


def _start(encoder: PromptEncoder, name: str, vectors: int, seed: int) -> np.ndarray:
    """Return the vectors that learning starts from: the name's own words, then a little noise.

    A word that the generator knows is a good start; one that it does not is as good as noise.
    """
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for words in encoder.words(name)[:vectors].cpu().split(encoder.widths, dim=1):  # encoders differ in scale
        rest = torch.randn(vectors - len(words), words.shape[1], generator=rng) * words.std()
        parts.append(torch.cat([words, rest]))
    return torch.cat(parts, dim=1).numpy()


@lru_cache(maxsize=1)
def _generator(origin: Origin, device: str) -> Generator:
    return load_for_inversion(origin, device=device)
