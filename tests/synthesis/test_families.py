"""Fourteen families of pipelines: the same images with one and with two replicas, and in other batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.bench.reference_loop import run_reference
from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan
from tests.tiny_families import FAMILIES, save_family

# Texts of several lengths: a tokenizer that threads share keeps the padding of the call before.
TOLD = [Told("a star", "star"), Told("a photo of the star", "star"), Told("a painting of a circle", "circle")]
EMBEDDED = {"sd", "sdxl", "sdxl-turbo", "sd3", "flux-dev", "flux-schnell"}
LEARNED = {"sd", "sdxl", "sdxl-turbo", "sd3"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in FAMILIES}


def configured(folder: Path, **keys: Any) -> RunConfig:
    keys = {"image_size": 28, **keys}
    return RunConfig(generator=str(folder), device="cpu", synthesis_precision="float32", **keys)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_images_with_one_and_with_two_replicas_and_in_other_batches(
    family: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(folders[family])
    monkeypatch.setattr("fgl_flower.synthesis.tuning.CPU_ROWS", 4)  # calls of four: many of them, and cheap
    plan = even_plan(TOLD, 8, settings_for(config))
    turned = SynthesisPlan(plan.settings, plan.images[::-1])
    hashes = []
    for number, (replicas, batch, order) in enumerate([(1, 3, plan), (2, 3, plan), (2, 3, plan), (1, 5, turned)]):
        monkeypatch.setattr("fgl_flower.synthesis.engine.replicas_for", lambda _, replicas=replicas: replicas)
        store = SyntheticStore(tmp_path / str(number))
        engine = engine_for(config.model_copy(update={"synthesis_batch_size": batch}))
        assert engine.fill(order, store).drawn == len(plan)
        hashes.append(store.hashes(plan.keys))
    assert hashes[0] == hashes[1] == hashes[2] == hashes[3]
    assert len(set(hashes[0].values())) == len(plan)  # another seed, another image


@pytest.mark.parametrize("family", FAMILIES)
def test_each_level_works_or_is_refused_before_the_round(family: str, folders: dict[str, Path]) -> None:
    takes = capabilities_of(inspect(str(folders[family])))
    assert (takes.embeddings, takes.tokens) == (family in EMBEDDED, family in LEARNED)
    for level in PROMPT_LEVEL.builtins:
        fits = {"embeddings": family in EMBEDDED, "tokens": family in LEARNED}.get(level, True)
        config = configured(folders[family], prompt_level=level)
        if fits:
            check_generator(config)
        else:
            with pytest.raises(ModelError, match=f"prompt-level = '{level}' needs"):
                check_generator(config)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_qwen_image_is_guided_by_the_scale_that_acts(guidance: float, folders: dict[str, Path], tmp_path: Path) -> None:
    """Its pipeline guides by `true_cfg_scale`, and only beside a negative prompt: a space will do."""
    import diffusers

    config = configured(folders["qwen-image"], guidance=guidance, image_size=32)
    plan = even_plan(TOLD[:1], 1, settings_for(config))
    store = SyntheticStore(tmp_path)
    engine_for(config).fill(plan, store)
    pipeline = diffusers.QwenImagePipeline.from_pretrained(folders["qwen-image"])
    pipeline.set_progress_bar_config(disable=True)
    more = {"negative_prompt": [" "]} if guidance > 1 else {}
    noise = [torch.Generator().manual_seed(plan.images[0].seed)]
    size = {"height": 32, "width": 32}
    prompt = [plan.images[0].prompt]
    drawn = pipeline(
        prompt, true_cfg_scale=guidance, num_inference_steps=2, generator=noise, output_type="pt", **size, **more
    ).images
    expected = (drawn.float().clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(store.images(plan, 32, ["star"]).pixels, expected)


@pytest.mark.parametrize("family", ["sdxl", "flux-dev", "sana-sprint", "qwen-image"])
def test_the_loop_of_the_benchmark_draws_the_same(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    config = configured(folders[family], image_size=32)
    settings = settings_for(config)
    plan, store = even_plan(TOLD[:1], 2, settings), SyntheticStore(tmp_path / "store")
    engine_for(config).fill(plan, store)
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    run_reference(generator, plan.images, settings, tmp_path)
    ours = store.images(plan, 32, ["star"]).pixels.permute(0, 2, 3, 1).numpy()
    for image, pixels in zip(plan.images, ours, strict=True):
        with Image.open(tmp_path / f"{image.key}.png") as picture:
            assert np.abs(np.asarray(picture).astype(int) - pixels).max() <= 1  # batches of other sizes: the last bit
