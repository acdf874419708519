"""Plans of some stars and circles, and what stands for their images where nothing needs to be drawn."""

from pathlib import Path

import torch

from fgl_flower.foundation.generator import Generator, GeneratorCard
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.shards import SyntheticImage
from fgl_flower.synthesis.writer import encode_batch
from tests.plans import Told, even_plan

CARD = GeneratorCard("model", "sha256:0", "StableDiffusionPipeline", "DDIMScheduler", 15, 2.5, 32, Path("/nowhere"))
TOLD = [Told(f"a {s} of a {c}", c, s) for c in ("star", "circle") for s in ("photo", "sketch", "clipart")]


def plan_of(count: int, seed: int = 0, **options: float) -> SynthesisPlan:
    told = [Told("a sketch of a star", "star", "sketch"), Told("a photo of a circle", "circle", "photo")]
    return even_plan(told, count // 2, SamplingSettings.of(CARD, **options), seed)


def drawn(plan: SynthesisPlan, size: int = 32) -> list[SyntheticImage]:
    """Return images whose pixels follow from their seeds."""
    pixels = [torch.randint(256, (3, size, size), generator=torch.Generator().manual_seed(i.seed)) for i in plan.images]
    return encode_batch(plan.images, torch.stack(pixels).to(torch.uint8), plan.settings.to_json())


def plan_for(generator: Generator, images_per_class: int, told: list[Told] = TOLD, **options: object) -> SynthesisPlan:
    return even_plan(told, images_per_class, SamplingSettings.of(generator.card, **options), 0)  # type: ignore[arg-type]
