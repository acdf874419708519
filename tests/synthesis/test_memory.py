"""A device's memory: batches that it does not hold are halved, and diffusers' means to save it are used."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.memory import Memory
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import notes
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings, settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.made_images import plan_for


@pytest.fixture
def generator(tiny_checkpoint: Path) -> Generator:
    return Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")


def shrink(generator: Generator, most: int) -> list[int]:
    """Let the denoiser run out of memory above so many rows; return the rows of each of its calls."""
    calls: list[int] = []

    def hold(module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        calls.append(len(given[0]))
        if len(given[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nDetails")

    generator.pipeline.unet.register_forward_pre_hook(hold)
    return calls


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "as its authors meant"])
def test_a_batch_that_does_not_fit_is_halved_for_the_rest_of_the_run(
    fast: bool, generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.engine.replicas_for", lambda _: 1)
    if not fast:
        monkeypatch.setattr("fgl_flower.synthesis.sampler.fast_path", lambda _: False)
    said: list[str] = []
    monkeypatch.setattr("fgl_flower.synthesis.sampler.log", lambda level, text, *given: said.append(text % given))
    plan, store = plan_for(generator, 20, guidance=1.0), SyntheticStore(tmp_path)  # 40 images, 3 steps, no guidance
    calls = shrink(generator, 9)
    engine = LocalEngine(generator=generator)
    assert engine.fill(plan, store).drawn == 40
    # 32 rows on a CPU fail, 16 fail, 8 do; and 40 images are 5 calls of 3 steps each.
    assert calls == [32, 16] + [8] * 15
    assert said == [f"out of memory: {rows} images are drawn at once from now on" for rows in (16, 8)]
    calls.clear()
    assert engine.fill(plan_for(generator, 24, guidance=1.0), store).drawn == 8
    assert calls == [8] * 3  # the next prompt round begins with what fits
    engine.release()
    assert engine.generator is generator  # it was given: whoever loaded it may need it


def test_images_are_those_of_the_smaller_batch(generator: Generator, one_thread: None) -> None:
    plan = plan_for(generator, 5)
    prompts = PromptCache(generator, plan.settings)
    prompts.encode([image.prompt for image in plan.images])
    expected = Sampler(prompts, 4).draw(plan.images)
    shrink(generator, 8)  # guided: two rows an image
    sampler = Sampler(prompts, 16)
    assert torch.equal(sampler.draw(plan.images).pixels, expected.pixels)
    assert sampler.rows == 4


def test_one_image_that_does_not_fit_ends_the_run_in_a_sentence(generator: Generator, tmp_path: Path) -> None:
    shrink(generator, 0)
    with pytest.raises(RunError) as caught:
        LocalEngine(generator=generator).fill(plan_for(generator, 2), SyntheticStore(tmp_path))
    assert "does not hold one image of 32 pixels" in str(caught.value)
    assert "offload = 'model'" in str(caught.value)
    assert "\n" not in str(caught.value)


class Recorded:
    """Notes what of a pipeline is called."""

    def __init__(self, calls: list[str], prefix: str = "") -> None:
        self.calls, self.prefix = calls, prefix

    def __getattr__(self, name: str) -> Any:
        if name == "vae":
            return Recorded(self.calls, "vae.")
        return lambda *given, **options: self.calls.append(
            f"{self.prefix}{name} {' '.join(map(str, (*given, *options.values())))}".strip()
        )


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(), ["to cuda"]),
        (Memory("model"), ["enable_model_cpu_offload cuda"]),
        (Memory("sequential", vae_slicing=True), ["vae.enable_slicing", "enable_sequential_cpu_offload cuda"]),
        (Memory(vae_tiling=True), ["vae.enable_tiling", "to cuda"]),
    ],
)
def test_diffusers_own_calls_save_memory(memory: Memory, expected: list[str]) -> None:
    calls: list[str] = []
    memory.place(Recorded(calls), torch.device("cuda"))
    assert calls == expected
    calls.clear()
    memory.place(Recorded(calls), torch.device("cpu"))
    assert calls == ["to cpu"]


@pytest.mark.parametrize("memory", [Memory(vae_slicing=True), Memory(vae_tiling=True)])
def test_a_pipeline_with_another_kind_of_autoencoder_takes_neither_slices_nor_tiles(memory: Memory) -> None:
    with pytest.raises(RuntimeError, match="set vae-slicing and vae-tiling to false"):
        memory.place(object(), torch.device("cuda"))


def test_parts_that_come_to_the_device_by_themselves_draw_the_same(tiny_checkpoint: Path, one_thread: None) -> None:
    """With accelerate's hooks, as offloading sets them; here from memory to memory."""
    from accelerate import cpu_offload

    pixels = []
    for offloaded in (False, True):
        generator = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
        if offloaded:
            generator.offloaded = True
            for part in (generator.pipeline.unet, generator.pipeline.vae, generator.pipeline.text_encoder):
                cpu_offload(part, torch.device("cpu"), offload_buffers=True)
            assert generator.pipeline.unet.conv_in.weight.device.type == "meta"
        plan = plan_for(generator, 3)
        prompts = PromptCache(generator, plan.settings)
        prompts.encode([image.prompt for image in plan.images])
        pixels.append(Sampler(prompts, 8).draw(plan.images).pixels)
    assert torch.equal(*pixels)


def test_on_a_cpu_they_are_noted_and_change_no_key(tiny_checkpoint: Path) -> None:
    config = RunConfig(
        generator=str(tiny_checkpoint), device="cpu", image_size=32, offload="model", vae_slicing=True, vae_tiling=True
    )
    assert notes(config) == [f"{key} has no effect on a CPU" for key in ("offload", "vae-slicing", "vae-tiling")]
    assert settings_for(config) == settings_for(RunConfig(generator=str(tiny_checkpoint), device="cpu", image_size=32))
    engine = engine_for(config)
    assert isinstance(engine, LocalEngine)
    assert engine.memory == Memory("model", True, True)


def test_tiles_change_the_key(generator: Generator) -> None:
    whole, tiled = (SamplingSettings.of(generator.card, vae_tiling=on).to_json() for on in (False, True))
    assert whole != tiled
    assert "vae_tiling" not in whole
