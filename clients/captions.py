"""Captions of a client's images: made once a process, scrubbed before anything else sees them."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import datasets
import numpy as np

from clients.data import Client
from clients.scrubber import scrub
from fgl_flower.config import RunConfig
from fgl_flower.data.decoding import open_image
from fgl_flower.foundation.captioner import Captioner
from fgl_flower.payload import Prompt

_CAPTIONS: dict[tuple[Any, ...], tuple[str, ...]] = {}
_REMEMBERED = 4096  # clients: a simulation has many in one process
_BATCH = 64  # images captioned at once, and in memory


def chosen(client: Client, dataset: datasets.Dataset) -> datasets.Dataset:
    """Return the images that a client looks at: all of these, or `max-captions` of them, evenly of every class."""
    most = client.config.max_captions
    if len(dataset) <= most:
        return dataset
    rng = np.random.default_rng(client.config.seed)
    order = rng.permutation(len(dataset))
    groups = list(zip(np.asarray(dataset["label"])[order], np.asarray(dataset["domain"])[order], strict=True))
    seen: dict[tuple[int, int], int] = {}
    turn = []
    for group in groups:
        turn.append(seen.get(group, 0))
        seen[group] = turn[-1] + 1
    return dataset.select(np.sort(order[np.argsort(turn, kind="stable")[:most]]))


def names(client: Client, dataset: datasets.Dataset) -> tuple[list[str], list[str]]:
    """Return class and style of each image; an unknown style is empty."""
    source = client.source
    labels = [source.classes[i] for i in dataset["label"]]
    return labels, [source.domains[i] if i >= 0 else "" for i in dataset["domain"]]


def captions(client: Client, dataset: datasets.Dataset) -> Sequence[str]:
    """Return a scrubbed caption for each image of the client's chosen ones."""
    config = client.config
    model = (config.captioner, config.captioner_revision)
    key = (client.source, client.division, client.partition, config.max_captions, *model)
    if key not in _CAPTIONS:
        if len(_CAPTIONS) >= _REMEMBERED:
            _CAPTIONS.clear()
        known = (*client.source.classes, *client.source.domains)
        captioner = _captioner(*model, config.device)
        raw = dataset.cast_column("image", datasets.Image(decode=False))["image"]
        told: list[str] = []
        for start in range(0, len(dataset), _BATCH):
            told += captioner.describe([open_image(record) for record in raw[start : start + _BATCH]])
        _CAPTIONS[key] = tuple(scrub(caption, known) for caption in told)
    return _CAPTIONS[key]


def count(told: Sequence[str], labels: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
    """Return the different prompts with the number of images behind each, sorted."""
    rows = Counter(zip(told, labels, domains, strict=True))
    return tuple(sorted(Prompt(*row, count=n) for row, n in rows.items()))


def texts(config: RunConfig, told: Sequence[str], labels: Sequence[str], domains: Sequence[str]) -> list[str]:
    """Return the prompt of each image by the instance template; a caption or style that is missing leaves no comma."""
    parts = config.instance_template.split(",")
    made = []
    for caption, label, domain in zip(told, labels, domains, strict=True):
        said = {"class": label, "caption": caption, "style": domain}
        filled = (part.format(**said).strip() for part in parts)
        made.append(", ".join(part for part in filled if part))
    return made


@lru_cache(maxsize=1)
def _captioner(model_id: str, revision: str, device: str) -> Captioner:
    return Captioner.load(model_id, revision, device)
