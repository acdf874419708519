"""What to draw: every image of a synthetic training set, named before the first one is drawn.

A plan is a value: the same prompts, counts, settings and run seed give the same plan, and a plan gives the same images
whichever engine draws it and however often it is interrupted. Each image has a key, the hash of everything that decides
its pixels, under which the store keeps it for every later run. A plan holds its prompts and how many images each gets;
an image is made when it is asked for, so a plan of any size takes the memory and time of its prompts.
"""

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import overload

import numpy as np

from fgl_flower.synthesis.settings import SamplingSettings


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image to draw.

    Attributes
    ----------
    prompt : str
        Text, or the name of an embedding of the plan.
    label, domain : str
        What the image shows, by the name of class and domain; the domain may be empty.
    seed : int
        Seed of its noise, 0 to 2**63 - 1.
    key : str
        Content address: 32 hexadecimal digits over settings, prompt or embedding, and seed.
    prompt_digest : str
        Hash of the text or the embedding, as in the key.
    """

    prompt: str
    label: str
    domain: str
    seed: int
    key: str
    prompt_digest: str


@dataclass(frozen=True, slots=True)
class PlannedPrompt:
    """The images of one prompt.

    Attributes
    ----------
    text : str
        Text, or the name of an embedding of the plan.
    label, domain : str
        Names of class and domain; the domain may be empty.
    count : int
        Images, at least 1.
    first : int
        Number of the first image among all of the plan from this text or embedding, from 0: part of its seed.
    prompt_digest : str
        Hash of the text or the embedding.
    """

    text: str
    label: str
    domain: str
    count: int
    first: int
    prompt_digest: str


@dataclass(frozen=True)
class PlannedImages(Sequence[PlannedImage]):
    """The images of prompts, each made when it is asked for.

    Attributes
    ----------
    prompts : tuple of PlannedPrompt
    settings : str
        `SamplingSettings.to_json`.
    run_seed : int
    """

    prompts: tuple[PlannedPrompt, ...]
    settings: str
    run_seed: int

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(prompt.count for prompt in self.prompts))

    def __len__(self) -> int:
        return self._ends[-1] if self.prompts else 0

    def __iter__(self) -> Iterator[PlannedImage]:
        for prompt in self.prompts:
            for replica in range(prompt.first, prompt.first + prompt.count):
                yield self._image(prompt, replica)

    @overload
    def __getitem__(self, at: int) -> PlannedImage: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[PlannedImage, ...]: ...
    def __getitem__(self, at: int | slice) -> PlannedImage | tuple[PlannedImage, ...]:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        position = at + len(self) if at < 0 else at
        if not 0 <= position < len(self):
            raise IndexError(f"image {at} of {len(self)}")
        row = bisect_right(self._ends, position)
        prompt = self.prompts[row]
        return self._image(prompt, prompt.first + prompt.count - (self._ends[row] - position))

    def _image(self, prompt: PlannedPrompt, replica: int) -> PlannedImage:
        seed = _seed(self.run_seed, prompt.prompt_digest, replica)
        key = content_key(self.settings, prompt.prompt_digest, seed)
        return PlannedImage(prompt.text, prompt.label, prompt.domain, seed, key, prompt.prompt_digest)


@dataclass(frozen=True)
class SynthesisPlan:
    """All images of a synthetic training set, in order.

    Attributes
    ----------
    settings : SamplingSettings
    images : sequence of PlannedImage
        `PlannedImages` of a whole plan, a tuple of a part of one (see `select`).
    embeddings : mapping of str to np.ndarray
        Prompt embeddings by name, (tokens, width) floating point: a prompt of that name is drawn from the array
        instead of text.
    warnings : tuple of str
        What one must know of the prompts before they are drawn, a sentence each.
    """

    settings: SamplingSettings
    images: Sequence[PlannedImage]
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of the images, in order."""
        return tuple(image.key for image in self.images)

    @cached_property
    def digest(self) -> str:
        """Hash that names the plan: over settings, seed and prompts with their counts, or over the keys of a part."""
        if isinstance(self.images, PlannedImages):
            rows = [asdict(prompt) for prompt in self.images.prompts]
            named = json.dumps([self.images.settings, self.images.run_seed, rows], sort_keys=True)
        else:
            named = "".join(self.keys)
        return hashlib.blake2b(named.encode(), digest_size=16).hexdigest()

    def select(self, keys: Iterable[str]) -> "SynthesisPlan":
        """Return the plan of the images with these keys, in this plan's order."""
        wanted = set(keys)
        return SynthesisPlan(self.settings, tuple(i for i in self.images if i.key in wanted), self.embeddings)

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return (label, domain, prompt, images) for each prompt, in order: the plan as a table one can print."""
        if isinstance(self.images, PlannedImages):
            return [(p.label, p.domain, p.text, p.count) for p in self.images.prompts]
        return [(*row, n) for row, n in Counter((i.label, i.domain, i.prompt) for i in self.images).items()]


def plan_of(
    counts: Iterable[tuple[str, str, str, int]],
    settings: SamplingSettings,
    run_seed: int,
    embeddings: Mapping[str, np.ndarray] | None = None,
    warnings: Sequence[str] = (),
) -> SynthesisPlan:
    """Return the plan that draws so many images of each prompt.

    More images of a prompt keep those of fewer and add to them, so that the store has to draw only the difference.

    Parameters
    ----------
    counts : iterable of (str, str, str, int)
        Prompt or name of an embedding, class, domain, images; in the order of the plan, each prompt, class and domain
        once. No image is planned twice, even if one text stands under two classes.
    settings : SamplingSettings
    run_seed : int
        Another seed draws other images from the same prompts.
    embeddings, warnings
        See `SynthesisPlan`.
    """
    embeddings = dict(embeddings or {})
    planned: Counter[str] = Counter()
    prompts = []
    for text, label, domain, count in counts:
        if count > 0:
            digest = _prompt_digest(text, embeddings.get(text))
            prompts.append(PlannedPrompt(text, label, domain, count, planned[digest], digest))
            planned[digest] += count
    images = PlannedImages(tuple(prompts), settings.to_json(), run_seed)
    return SynthesisPlan(settings, images, embeddings, tuple(warnings))


def with_another_seed(image: PlannedImage, attempt: int) -> PlannedImage:
    """Return an image to draw in a planned one's stead; `attempt` counts from 1. It keeps the key."""
    digest = hashlib.blake2b(f"{image.seed}:again:{attempt}".encode(), digest_size=8).digest()
    return replace(image, seed=int.from_bytes(digest, "little") >> 1)


def content_key(settings: str, prompt_digest: str, seed: int) -> str:
    """Return the content address of an image: 32 hexadecimal digits.

    Parameters
    ----------
    settings : str
        `SamplingSettings.to_json`.
    prompt_digest : str
        Hash of the prompt's text or embedding.
    seed : int
        Seed of the image's noise.
    """
    return hashlib.blake2b(f"{settings}\n{prompt_digest}\n{seed}".encode(), digest_size=16).hexdigest()


def _prompt_digest(text: str, embedding: np.ndarray | None) -> str:
    if embedding is None:
        return hashlib.blake2b(b"text:" + text.encode(), digest_size=16).hexdigest()
    array = np.ascontiguousarray(embedding, dtype="<f4")
    return hashlib.blake2b(f"embedding:{array.shape}:".encode() + array.tobytes(), digest_size=16).hexdigest()


def _seed(run_seed: int, prompt_digest: str, replica: int) -> int:
    digest = hashlib.blake2b(f"{run_seed}:{prompt_digest}:{replica}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
