"""What to draw: every image of a synthetic training set, named before the first one is drawn.

A plan is a value: the same prompts, budget, settings and run seed give the same plan, and a plan gives the same images
whichever engine draws it and however often it is interrupted. Each image has a key, the hash of everything that decides
its pixels, under which the store keeps it for every later run.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import GeneratorCard

if TYPE_CHECKING:
    from fgl_flower.config import RunConfig

SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
}

STORED_PER_INPUT = 256 / 224  # the paper stores 256 px for a learner that crops 224


class PromptLike(Protocol):
    """What `make_plan` needs of a prompt; `fgl_flower.wire.codec.Prompt` is one."""

    @property
    def text(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def domain(self) -> str: ...


@dataclass(frozen=True)
class SamplingSettings:
    """Everything besides prompt and seed that decides an image's pixels; all of it is part of the key.

    Attributes
    ----------
    generator, revision, pipeline : str
        Identity of the generator, see `GeneratorCard`.
    scheduler : str
        diffusers' class name.
    steps : int
        Denoising steps, at least 1.
    guidance : float
        Classifier-free guidance scale; 1 is none.
    guidance_from, guidance_until : float
        Share of the steps, in [0, 1], between which guidance acts (Kynkäänniemi et al., arXiv 2404.07724).
    negative_prompt : str
        What guidance leads away from; empty without guidance.
    size : int
        Side of the drawn image, in pixels.
    stored_size : int
        Side of the stored image, in pixels.
    precision : str
        float32, bfloat16 or float16.
    """

    generator: str
    revision: str
    pipeline: str
    scheduler: str
    steps: int
    guidance: float
    guidance_from: float
    guidance_until: float
    negative_prompt: str
    size: int
    stored_size: int
    precision: str

    @classmethod
    def of(
        cls,
        card: GeneratorCard,
        *,
        scheduler: str = "",
        steps: int = 0,
        guidance: float = -1.0,
        guidance_from: float = 0.0,
        guidance_until: float = 1.0,
        negative_prompt: str = "",
        size: int = 0,
        stored_size: int = 0,
        precision: str = "float32",
    ) -> Self:
        """Fill in the generator's own defaults and bring equal settings to one form, so that they share keys.

        Parameters
        ----------
        card : GeneratorCard
        scheduler : str
            A name of `SCHEDULERS`; empty: the checkpoint's own.
        steps, size, stored_size : int
            0: the generator's default; the stored image is as large as the drawn one by default.
        guidance : float
            -1: the generator's default; 0 and 1: none.
        precision : str
            As resolved, never 'auto'.

        Raises
        ------
        ConfigError
            For an unknown scheduler or an empty guidance interval.
        """
        if scheduler and scheduler not in SCHEDULERS:
            raise ConfigError(
                f"scheduler = {scheduler!r} is unknown: use one of {', '.join(SCHEDULERS)} or leave it empty"
            )
        if not 0 <= guidance_from < guidance_until <= 1:
            raise ConfigError("guidance needs an interval: 0 <= guidance-from < guidance-until <= 1")
        scale = card.guidance if guidance < 0 else guidance
        guided = scale > 1
        size = size or card.size
        return cls(
            generator=card.id,
            revision=card.revision,
            pipeline=card.pipeline,
            scheduler=SCHEDULERS[scheduler] if scheduler else card.scheduler,
            steps=steps or card.steps,
            guidance=float(scale) if guided else 1.0,
            guidance_from=float(guidance_from) if guided else 0.0,
            guidance_until=float(guidance_until) if guided else 1.0,
            negative_prompt=negative_prompt if guided else "",
            size=size,
            stored_size=stored_size or size,
            precision=precision,
        )

    @property
    def guided(self) -> bool:
        """Whether any step is guided."""
        return self.guidance > 1

    def to_json(self) -> str:
        """Return canonical JSON, equal for equal settings."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def settings_for(config: "RunConfig") -> SamplingSettings:
    """Return the settings a run configuration asks for; the generator is looked up, not loaded.

    Raises
    ------
    ModelError
        If the generator is missing.
    """
    from fgl_flower.device import resolve_device, resolve_precision
    from fgl_flower.foundation.generator import inspect

    card = inspect(config.generator, config.generator_revision)
    return SamplingSettings.of(
        card,
        scheduler=config.scheduler,
        steps=config.steps,
        guidance=config.guidance,
        guidance_from=config.guidance_from,
        guidance_until=config.guidance_until,
        negative_prompt=config.negative_prompt,
        stored_size=min(card.size, round(config.image_size * STORED_PER_INPUT)),
        precision=resolve_precision(config.synthesis_precision, resolve_device(config.device)),
    )


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image to draw.

    Attributes
    ----------
    prompt : str
        Text, or the name of an embedding of the plan.
    label, domain : str
        What the image shows, by the name of class and style; the domain may be empty.
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


@dataclass(frozen=True)
class SynthesisPlan:
    """All images of a synthetic training set, in order.

    Attributes
    ----------
    settings : SamplingSettings
    images : tuple of PlannedImage
    embeddings : mapping of str to np.ndarray
        Prompt embeddings by name, (tokens, width) floating point: a prompt of that name is drawn from the array
        instead of text.
    """

    settings: SamplingSettings
    images: tuple[PlannedImage, ...]
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of the images, in order."""
        return tuple(image.key for image in self.images)

    @cached_property
    def digest(self) -> str:
        """Hash over the keys: the plan's name."""
        return hashlib.blake2b("".join(self.keys).encode(), digest_size=16).hexdigest()

    def select(self, keys: Iterable[str]) -> "SynthesisPlan":
        """Return the plan of the images with these keys, in this plan's order."""
        wanted = set(keys)
        return SynthesisPlan(self.settings, tuple(i for i in self.images if i.key in wanted), self.embeddings)

    def rows(self) -> list[tuple[str, str, str, int]]:
        """Return (label, domain, prompt, images) for each prompt, in order: the plan as a table one can print."""
        return [(*row, n) for row, n in Counter((i.label, i.domain, i.prompt) for i in self.images).items()]


def make_plan(
    prompts: Iterable[PromptLike],
    images_per_class: int | Mapping[str, int],
    settings: SamplingSettings,
    run_seed: int,
    embeddings: Mapping[str, np.ndarray] | None = None,
) -> SynthesisPlan:
    """Spread each class's budget evenly over its prompts.

    Equal prompts of several clients are one. A larger budget keeps the images of a smaller one and adds to them, so
    that the store has to draw only the difference.

    Parameters
    ----------
    prompts : iterable of PromptLike
        In any order.
    images_per_class : int or mapping of str to int
        Budget of images a class, or of each class by name; classes without prompts get none.
    settings : SamplingSettings
    run_seed : int
        Another seed draws other images from the same prompts.
    embeddings : mapping of str to np.ndarray, optional
        See `SynthesisPlan`.
    """
    by_class: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for prompt in prompts:
        by_class[prompt.label].add((prompt.domain, prompt.text))
    counts = []
    for label in sorted(by_class):
        budget = images_per_class if isinstance(images_per_class, int) else images_per_class.get(label, 0)
        entries = sorted(by_class[label])
        share, rest = divmod(budget, len(entries))
        for position, (domain, text) in enumerate(entries):
            counts.append((text, label, domain, share + (position < rest)))
    return plan_of(counts, settings, run_seed, embeddings)


def plan_of(
    counts: Iterable[tuple[str, str, str, int]],
    settings: SamplingSettings,
    run_seed: int,
    embeddings: Mapping[str, np.ndarray] | None = None,
) -> SynthesisPlan:
    """Return the plan that draws so many images of each prompt.

    Parameters
    ----------
    counts : iterable of (str, str, str, int)
        Prompt or name of an embedding, class, style, images; in the order of the plan.
    settings, run_seed, embeddings
        As for `make_plan`.
    """
    embeddings = dict(embeddings or {})
    common = settings.to_json()
    replicas: Counter[str] = Counter()
    images = []
    for text, label, domain, count in counts:
        digest = _prompt_digest(text, embeddings.get(text))
        for _ in range(count):
            seed = _seed(run_seed, digest, replicas[digest])
            replicas[digest] += 1
            images.append(PlannedImage(text, label, domain, seed, content_key(common, digest, seed), digest))
    return SynthesisPlan(settings, tuple(images), embeddings)


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
