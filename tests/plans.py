"""Plans for tests: a budget of images a class, spread evenly over the prompts of the class."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.settings import SamplingSettings


class Told(NamedTuple):
    """A prompt with its class and domain."""

    text: str
    label: str
    domain: str = ""


def even_plan(
    told: Iterable[Told],
    images_per_class: int,
    settings: SamplingSettings,
    seed: int = 0,
    embeddings: Mapping[str, np.ndarray] | None = None,
) -> SynthesisPlan:
    """Return the plan of these prompts, classes and styles in order; the first of a class get the odd images."""
    counts = []
    for label in sorted({t.label for t in told}):
        own = sorted({(t.domain, t.text) for t in told if t.label == label})
        share, rest = divmod(images_per_class, len(own))
        counts += [(text, label, domain, share + (i < rest)) for i, (domain, text) in enumerate(own)]
    return plan_of(counts, settings, seed, embeddings)
