"""Single-file checkpoints: the images of the folder that they were made of, with no network and no pickle."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan
from tests.tiny_families import save_family
from tests.tiny_models import save_safety_checker, save_text_to_image
from tests.tiny_single_file import save_single_file


@pytest.fixture(scope="module")
def file(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_single_file(tiny_checkpoint, tmp_path_factory.mktemp("single") / "x.safetensors")


@pytest.fixture
def bare(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The configuration of a pipeline without its weights."""
    return without_weights(tiny_checkpoint, tmp_path / "bare")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def configured(file: Path, config: Path | str = "", **keys: Any) -> RunConfig:
    return RunConfig(
        generator=str(file), generator_config=str(config), device="cpu", synthesis_precision="float32", **keys
    )


def refused(file: Path, config: Path | str = "") -> str:
    with pytest.raises(ModelError) as caught:
        check_generator(configured(file, config))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def without_weights(checkpoint: Path, folder: Path, *kept: str) -> Path:
    """Copy a checkpoint without its weights but those of some components."""

    def left_out(place: str, names: list[str]) -> list[str]:
        return [] if Path(place).name in kept else [name for name in names if name.endswith(".safetensors")]

    return shutil.copytree(checkpoint, folder, ignore=left_out)


@pytest.mark.parametrize(
    ("family", "kept"), [("sd", ()), ("sdxl", ()), ("sd3", ("text_encoder", "text_encoder_2", "text_encoder_3"))]
)
def test_images_are_those_of_the_folder_it_was_made_of(
    family: str, kept: tuple[str, ...], tmp_path: Path, offline: None
) -> None:
    checkpoint = save_family(family, tmp_path / family)
    file = save_single_file(checkpoint, tmp_path / "x.safetensors")
    bare = without_weights(checkpoint, tmp_path / "bare", *kept)
    digests, keys = [], set()
    store = SyntheticStore(tmp_path / "store")
    for config in (configured(file, bare, image_size=28), configured(checkpoint, image_size=28)):
        check_generator(config)
        plan = even_plan([Told("a photo of a star", "star")], 4, settings_for(config))
        assert engine_for(config).fill(plan, store).drawn == 4
        digests.append(store.digest(plan))
        keys |= set(plan.keys)
    assert digests[0] == digests[1]
    assert len(keys) == 8  # of another id: each has its own


def test_levels_that_encode_text_take_its_text_encoder(tiny_checkpoint: Path, file: Path, bare: Path) -> None:
    origin = Origin(str(file), config=str(bare))
    encoded = PromptEncoder.load(origin).encode(["a sketch of a star"])
    assert torch.equal(encoded, PromptEncoder.load(str(tiny_checkpoint)).encode(["a sketch of a star"]))
    check_generator(configured(file, bare, prompt_level="embeddings"))


def test_the_card_tells_file_and_configuration(file: Path, bare: Path, tmp_path: Path) -> None:
    card = inspect(Origin(str(file), config=str(bare)))
    assert (card.id, card.pipeline, card.size, card.steps) == ("x.safetensors", "StableDiffusionPipeline", 32, 3)
    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, other)
    assert inspect(Origin(str(other), config=str(bare))).revision != card.revision
    (bare / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EulerDiscreteScheduler"}')
    assert inspect(Origin(str(file), config=str(bare))).revision != card.revision


def test_what_the_file_lacks_comes_from_the_configurations_folder(
    tiny_checkpoint: Path, file: Path, bare: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.safetensors"
    save_file({name: t for name, t in load_file(file).items() if not name.startswith("first_stage_model")}, part)
    assert f"neither the file nor {bare} holds its 'vae'" in refused(part, bare)
    weights = "vae/diffusion_pytorch_model.safetensors"
    shutil.copy(tiny_checkpoint / weights, bare / weights)
    check_generator(configured(part, bare))
    pipelines = [
        Generator.load(one, device="cpu", precision="float32").pipeline
        for one in (Origin(str(part), config=str(bare)), str(tiny_checkpoint))
    ]
    assert torch.equal(*(pipeline.vae.decoder.conv_in.weight for pipeline in pipelines))


def test_a_file_without_the_denoiser_is_refused(tiny_checkpoint: Path, file: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    save_file({name: t for name, t in load_file(file).items() if name.startswith("first_stage_model")}, part)
    assert "'unet'" in refused(part, tiny_checkpoint)


def test_a_configuration_of_another_size_is_refused(file: Path, tmp_path: Path) -> None:
    told = refused(file, save_text_to_image(tmp_path / "wider", width=24))
    assert "it holds no 'unet' of the configuration" in told
    assert told.endswith("set generator-config to a pipeline of its family")


def test_without_a_configuration_the_sentence_says_what_to_fetch(file: Path, offline: None) -> None:
    told = refused(file)
    assert "set generator-config to a folder with the model_index.json" in told
    assert "hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include" in told
    assert "generator-config names the configuration of 'owner/name'" in refused(file, "owner/name")


def test_the_cached_configuration_of_its_family_is_enough(
    file: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, bool]] = []

    def cached(repo: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((repo, local_files_only))
        return str(bare)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    check_generator(configured(file))
    assert set(asked) == {("stable-diffusion-v1-5/stable-diffusion-v1-5", True)}


def test_a_damaged_file_is_told_in_a_sentence(file: Path, bare: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(file.read_bytes()[:-100])
    assert "no file of safetensors" in refused(damaged, bare)


def test_a_configuration_without_a_file_is_refused(tiny_checkpoint: Path) -> None:
    assert "generator-config goes with a generator that is a single" in refused(tiny_checkpoint, tiny_checkpoint)


def test_the_configurations_folder_may_hold_a_safety_checker(file: Path, bare: Path) -> None:
    save_safety_checker(bare, passes=0.5)
    config = configured(file, bare)
    check_generator(config)
    assert settings_for(config).safety_checker
    origin = Origin.configured(config)
    for asked in (True, False):
        generator = Generator.load(origin, device="cpu", precision="float32", safety_checker=asked)
        assert (generator.pipeline.safety_checker is not None) == asked
