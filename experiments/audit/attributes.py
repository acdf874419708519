"""Attribute inference: does a client's payload tell the colour, size ... of its images better than a good guess?

Only the built-in worlds have true attributes, in the captions that they were drawn with. An attacker knows class and
style of a private image and names of each attribute the value that the client's prompts of that class and style name
most often; without the payload, the one that is most frequent among held-out images of that class and style. Of the
style the attacker knows the class alone.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.audit.answers import Answer
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import BACKGROUNDS, CLASSES, COLOURS, HELD_OUT_CLASSES, HELD_OUT_STYLE, SIZES, STYLES
from fgl_flower.data.worlds import KINDS as WORLDS

__all__ = ["KINDS", "Inferred", "attributes", "infer"]

KINDS = ("style", "shape", "colour", "size", "tilt", "background")

_SIZE, _SHAPE, _GROUND = "|".join(SIZES), "|".join((*CLASSES, *HELD_OUT_CLASSES)), "|".join(BACKGROUNDS)
_COLOUR, _STYLE = "|".join((*COLOURS, "grey", "black")), "|".join((*STYLES, HELD_OUT_STYLE))
_PATTERNS = {
    "style": re.compile(rf"\b({_STYLE}) of\b"),
    "shape": re.compile(rf"\b(?:{_COLOUR}|{_SIZE}) ({_SHAPE})\b"),
    "colour": re.compile(rf"\b({_COLOUR})\b(?! background)"),
    "size": re.compile(rf"\b({_SIZE})\b"),
    "tilt": re.compile(r"\btilted (left|right)\b"),
    "background": re.compile(rf"\b({_GROUND}) background\b"),
}

Place = tuple[str, str]  # class and style; the style is "" where the attacker does not know it


@dataclass(frozen=True)
class Inferred:
    """How often an attacker names the right value of an attribute.

    Attributes
    ----------
    told, guessed : float
        Share of the private images, 0..1, with and without the payload of their client.
    images : int
    """

    told: float
    guessed: float
    images: int


def attributes(text: str) -> dict[str, str]:
    """Return what a text names of an image of the built-in world, by kind; a whole caption without a tilt: upright."""
    found = {kind: match[1] for kind, pattern in _PATTERNS.items() if (match := pattern.search(text))}
    return {"tilt": "upright", **found} if {"shape", "size", "background"} <= found.keys() else found


def infer(config: RunConfig, answers: Sequence[Answer]) -> dict[str, Inferred]:
    """Return the attacker's success by kind of attribute; empty where the data have no known attributes."""
    if config.dataset not in WORLDS:
        return {}
    source = load_source(config)
    held_out = _Seen()
    columns = (source.validation[name] for name in ("caption", "label", "domain"))
    for text, label, domain in zip(*columns, strict=True):
        held_out.add(source.classes[label], source.domains[domain], attributes(text), 1)
    told, guessed, images = Counter[str](), Counter[str](), Counter[str]()
    for answer in answers:
        seen = _Seen()
        for prompt in answer.payload.prompts if answer.payload.kind != "embeddings" else ():
            style = {"style": prompt.domain} if prompt.domain else {}
            seen.add(prompt.label, prompt.domain, {**attributes(prompt.text), **style}, prompt.count)
        rows = answer.client.rows
        for text, label, domain in zip(rows.dataset["caption"], rows.labels, rows.domains, strict=True):
            known = source.classes[label], source.domains[domain]
            for kind, value in attributes(text).items():
                guess = held_out.most(kind, *known)
                told[kind] += (seen.most(kind, *known) or guess) == value
                guessed[kind] += guess == value
                images[kind] += 1
    return {k: Inferred(told[k] / images[k], guessed[k] / images[k], images[k]) for k in KINDS if images[k]}


class _Seen:
    """How often each value of an attribute was seen, by kind and place."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Place], Counter[str]] = defaultdict(Counter)

    def add(self, label: str, style: str, values: dict[str, str], count: int) -> None:
        for kind, value in values.items():
            for place in {(label, ""), (label, style)}:
                self._counts[kind, place][value] += count

    def most(self, kind: str, label: str, style: str) -> str:
        """Return the most frequent value in a class and style, in the class where none is known; "" if in neither."""
        for place in ((label, "" if kind == "style" else style), (label, "")):
            if counts := self._counts.get((kind, place)):
                return min(counts, key=lambda value: (-counts[value], value))
        return ""
