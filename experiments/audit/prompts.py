"""What a payload says of its owner: how few images are behind a prompt, and how much of an image its words tell."""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clients.data import Client
from clients.scrubber import scrub
from experiments.audit.answers import Answer
from experiments.audit.planted import PLANTED
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import Source, load_source
from fgl_flower.wire.payload import PromptPayload

__all__ = ["FEW", "Told", "examine", "scrubbed"]

FEW = 5  # images behind a prompt: fewer are too few by a common rule (k-anonymity)
_EVERYWHERE = 0.95  # share of captions; a word of more tells nothing of an image

Place = tuple[str, str]  # class and domain


@dataclass(frozen=True)
class Told:
    """What one client's prompts tell.

    Attributes
    ----------
    client : int
    images, prompts : int
        Images behind the prompts, and different prompts.
    alone : int
        Prompts that stand for one image.
    few : int
        Prompts that stand for fewer than `FEW`.
    words : float
        Mean share, 0..1, of the words of an image's true caption that a prompt of its class and domain names, drawn by
        their counts; NaN where the data have no captions or the payload is no text.
    guessed : float
        The same of a held-out image's true caption in place of the prompt: what an attacker knows without a payload.
    """

    client: int
    images: int
    prompts: int
    alone: int
    few: int
    words: float
    guessed: float


def examine(config: RunConfig, answers: Sequence[Answer]) -> list[Told]:
    """Return what each client of a run tells by its answer in the prompt round."""
    known = _Known.of(load_source(config))
    result = []
    for answer in answers:
        payload = answer.payload
        counts = [prompt.count for prompt in payload.prompts]
        result.append(
            Told(
                payload.partition_id,
                sum(counts),
                len(counts),
                sum(count == 1 for count in counts),
                sum(count < FEW for count in counts),
                *known.shares(answer.client, payload),
            )
        )
    return result


def scrubbed() -> dict[str, tuple[int, int]]:
    """Return how many of the planted names and numbers of each kind the scrubber takes out, and how many there are."""
    return {
        kind: (sum(what not in scrub(text) for text, what in sentences), len(sentences))
        for kind, sentences in PLANTED.items()
    }


@dataclass(frozen=True)
class _Known:
    """What an attacker knows without a payload: the true captions of held-out images.

    Attributes
    ----------
    captions : mapping of (class, domain) to a list of sets of words
    common : frozenset of str
        Words that tell nothing: those of nearly all captions, and names of classes and domains.
    """

    captions: Mapping[Place, list[frozenset[str]]]
    common: frozenset[str]

    @classmethod
    def of(cls, source: Source) -> "_Known":
        texts = [_words(text) for text in source.validation["caption"]]
        seen: dict[str, int] = defaultdict(int)
        for words in texts:
            for word in words:
                seen[word] += 1
        names = frozenset().union(*(_words(name) for name in (*source.classes, *source.domains)))
        common = frozenset(word for word, n in seen.items() if n >= _EVERYWHERE * len(texts)) | names
        captions: dict[Place, list[frozenset[str]]] = defaultdict(list)
        for words, label, domain in zip(texts, source.validation["label"], source.validation["domain"], strict=True):
            captions[_place(source, label, domain)].append(words - common)
        return cls(captions, common)

    def shares(self, client: Client, payload: PromptPayload) -> tuple[float, float]:
        source = load_source(client.config)
        rows = client.rows
        texts = rows.dataset["caption"]
        if payload.kind != "text" or not any(texts):
            return math.nan, math.nan
        prompts: dict[Place, list[tuple[frozenset[str], int]]] = defaultdict(list)
        for prompt in payload.prompts:
            prompts[prompt.label, prompt.domain].append((_words(prompt.text) - self.common, prompt.count))
        told, guessed = [], []
        for text, label, domain in zip(texts, rows.labels.tolist(), rows.domains.tolist(), strict=True):
            place, truth = _place(source, label, domain), _words(text) - self.common
            if truth and (others := self.captions.get(place)):
                told.append(_overlap(truth, *zip(*prompts.get(place, [(frozenset(), 1)]), strict=True)))
                guessed.append(_overlap(truth, others, [1] * len(others)))
        return (float(np.mean(told)), float(np.mean(guessed))) if told else (math.nan, math.nan)


def _overlap(truth: Collection[str], candidates: Sequence[frozenset[str]], weights: Sequence[int]) -> float:
    """Return the expected share of the true words in one of the candidates."""
    shares = [len(candidate.intersection(truth)) / len(truth) for candidate in candidates]
    return float(np.average(shares, weights=weights))


def _place(source: Source, label: int, domain: int) -> Place:
    return source.classes[label], source.domains[domain] if domain >= 0 else ""


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", text.casefold()))
