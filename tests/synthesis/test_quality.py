"""Images that are no images: never stored if they are not finite, counted if they show nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.errors import RunError
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis import maintenance as upkeep
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.quality import Drawn, check_finite, is_nearly_constant, nearly_constant
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan

TOLD = [Told("a photo of a star", "star"), Told("a photo of a circle", "circle")]


@pytest.fixture
def generator(tiny_checkpoint: Path) -> Generator:
    return Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")


class OtherPipeline(diffusers.StableDiffusionPipeline):
    """Any other class is called as its authors meant it to be."""


def other(generator: Generator) -> Generator:
    generator.pipeline = OtherPipeline(**generator.pipeline.components, requires_safety_checker=False)
    return generator


def spoil(generator: Generator, part: str, value: float) -> None:
    """Let a module of the generator give `value` somewhere in its first image, as an overflow does."""
    module = generator.pipeline.unet if part == "denoiser" else generator.pipeline.vae.decoder

    def spoiled(module: torch.nn.Module, given: Any, result: Any) -> Any:
        tensor = result[0] if isinstance(result, tuple) else result
        tensor[0, 0, 0, 0] = value  # in place: the module gives it on

    module.register_forward_hook(spoiled)


@pytest.mark.parametrize("kind", [lambda generator: generator, other], ids=["fast", "as its authors meant"])
@pytest.mark.parametrize("part", ["decoder", "denoiser"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_is_not_stored(
    kind: Callable, part: str, value: float, generator: Generator, tmp_path: Path
) -> None:
    generator = kind(generator)
    spoil(generator, part, value)
    plan = even_plan(TOLD, 8, SamplingSettings.of(generator.card))
    store = SyntheticStore(tmp_path)
    with pytest.raises(RunError, match=r"of 16 images .* float32 with DDIMScheduler .* another scheduler \(dpm"):
        LocalEngine(generator=generator, batch_size=16).fill(plan, store)
    assert len(SyntheticStore(tmp_path)) == 0


def test_what_was_drawn_before_is_kept(generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, calls = Sampler.draw, []

    def spoil_the_fourth(self: Sampler, images: list) -> Drawn:
        drawn = draw(self, images)
        calls.append(len(images))
        if len(calls) == 4:
            return Drawn(drawn.pixels, torch.arange(len(images)) != 1)
        return drawn

    monkeypatch.setattr(Sampler, "draw", spoil_the_fourth)
    monkeypatch.setattr("fgl_flower.synthesis.engine.replicas_for", lambda _: 1)
    plan, store = even_plan(TOLD, 64, SamplingSettings.of(generator.card)), SyntheticStore(tmp_path)
    with pytest.raises(RunError, match="1 of 16 images"):
        LocalEngine(generator=generator, batch_size=16).fill(plan, store)
    kept = len(SyntheticStore(tmp_path))
    assert kept in range(48, 128, 16)  # the three before, and what was drawn while the fourth was encoded
    assert upkeep.verify(tmp_path).problems == []
    monkeypatch.setattr(Sampler, "draw", draw)
    assert LocalEngine(generator=generator).fill(plan, store).drawn == 128 - kept


def test_the_sentence_names_what_to_change(generator: Generator) -> None:
    half = SamplingSettings.of(generator.card, precision="float16", scheduler="euler")
    with pytest.raises(RunError) as caught:
        check_finite(torch.tensor([True, False, False]), half)
    told = str(caught.value)
    assert told.startswith("2 of 3 images of a batch are not finite numbers")
    assert "set synthesis-precision = 'float32' or another scheduler (dpm++, unipc, ddim)" in told
    assert "\n" not in told
    check_finite(torch.tensor([True, True]), half)


def test_images_of_one_colour_are_told_from_faint_ones() -> None:
    flat = [np.full((32, 32, 3), colour, np.uint8) for colour in ([0, 0, 0], [255] * 3, [200, 10, 90])]
    grain = np.random.default_rng(0).integers(99, 102, (32, 32, 3), dtype=np.uint8)  # deviates by 0.8
    line = np.full((512, 512, 3), 255, np.uint8)
    line[256] = 0  # a pixel wide, from side to side
    assert [bool(is_nearly_constant(i)) for i in [*flat, grain, line]] == [True] * 4 + [False]
    stacked = torch.from_numpy(np.stack([*flat, grain, line[240:272, :32]])).permute(0, 3, 1, 2)
    assert nearly_constant(stacked).tolist() == [True] * 4 + [False]
    assert nearly_constant(stacked[:0]).tolist() == []


@given(st.integers(0, 300), st.integers(0, 2**31 - 1))
def test_a_large_set_is_judged_image_by_image(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spans = rng.choice([1, 2, 64], count)  # a grey level or two, or a contrast
    images = [rng.integers(100, 100 + s, (4, 4, 3)) for s in spans]
    stacked = torch.from_numpy(np.array(images, dtype=np.uint8).reshape(count, 4, 4, 3)).permute(0, 3, 1, 2)
    assert nearly_constant(stacked).tolist() == [int(s) < 64 for s in spans]


def test_every_style_of_the_built_in_world_is_far_above_the_threshold() -> None:
    from fgl_flower.config import RunConfig
    from fgl_flower.data.sources import load_source
    from fgl_flower.learning.images import decode

    images = decode(load_source(RunConfig(private_images=600, validation_images=60, test_images=60)).private, 32)
    assert images.pixels.float().std((2, 3)).amax(1).min() > 10  # five times it
    assert not nearly_constant(images.pixels).any()


def test_old_stores_are_searched_for_images_that_show_nothing(generator: Generator, tmp_path: Path) -> None:
    from fgl_flower.synthesis.writer import encode_batch

    plan = even_plan(TOLD, 6, SamplingSettings.of(generator.card))
    pixels = torch.randint(256, (12, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pixels[[1, 2, 7]] = 0
    SyntheticStore(tmp_path).add(encode_batch(plan.images, pixels, plan.settings.to_json()))
    verdict = upkeep.verify(tmp_path)
    assert verdict.problems == []
    assert sorted(verdict.nearly_constant) == sorted((plan.keys[i], plan.images[i].prompt) for i in (1, 2, 7))
