"""Loading text-to-image pipelines from folders, and what identifies them."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

from fgl_flower.config import RunConfig
from fgl_flower.device import resolve_precision
from fgl_flower.errors import ConfigError, ModelError
from fgl_flower.foundation import miniature
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.synthesis.generator_checks import check_generator
from tests.tiny_models import save_text_to_image


def test_card_tells_defaults_and_identity(tiny_checkpoint: Path) -> None:
    card = inspect(str(tiny_checkpoint))
    assert (card.id, card.pipeline, card.scheduler) == ("tiny", "StableDiffusionPipeline", "DDIMScheduler")
    assert (card.steps, card.guidance, card.size) == (3, 2.0, 32)
    assert card.revision.startswith("sha256:")


def test_revision_follows_the_bytes_not_the_place(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    assert inspect(str(copy)).revision == inspect(str(tiny_checkpoint)).revision
    (copy / "fgl.json").unlink()  # defaults are part of the settings, not of the weights
    bare = inspect(str(copy))
    assert (bare.revision, bare.steps, bare.guidance) == (inspect(str(tiny_checkpoint)).revision, 50, 2.0)
    assert bare.size == 32  # latent side 8 times the scale 4 of the VAE
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert inspect(str(copy)).revision != bare.revision


def test_load_freezes_and_places(tiny_checkpoint: Path) -> None:
    generator = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
    assert generator.pipeline.unet.dtype == torch.float32
    assert not any(p.requires_grad for p in generator.pipeline.unet.parameters())
    assert not generator.pipeline.vae.training


def test_folder_with_a_base_replaces_components(tiny_checkpoint: Path, tmp_path: Path) -> None:
    other = save_text_to_image(tmp_path / "other", scheduler="DPMSolverMultistepScheduler", seed=1)
    shutil.copytree(tiny_checkpoint, tmp_path / "base")
    fast = tmp_path / "fast"
    for name in ("unet", "scheduler"):
        shutil.copytree(other / name, fast / name)
    (fast / "fgl.json").write_text(json.dumps({"base": "../base", "steps": 4, "guidance": 1.0}))

    card = inspect(str(fast))
    assert (card.pipeline, card.scheduler) == ("StableDiffusionPipeline", "DPMSolverMultistepScheduler")
    assert (card.steps, card.guidance, card.size) == (4, 1.0, 32)
    pipeline = Generator.load(str(fast), device="cpu").pipeline
    base, changed = (Generator.load(str(p), device="cpu").pipeline for p in (tiny_checkpoint, other))
    assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert torch.equal(pipeline.unet.conv_in.weight, changed.unet.conv_in.weight)
    assert torch.equal(pipeline.vae.encoder.conv_in.weight, base.vae.encoder.conv_in.weight)

    before = card.revision
    config = tmp_path / "base" / "vae" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert inspect(str(fast)).revision != before  # the base decides what is drawn, too


@pytest.mark.parametrize("damage", ["no index", "half the weights", "not JSON", "no weights"])
def test_broken_checkpoints_are_told_in_a_sentence(damage: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_checkpoint, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "no index":
        (broken / "model_index.json").unlink()
    elif damage == "not JSON":
        (broken / "model_index.json").write_text("{")
    elif damage == "no weights":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ModelError) as caught:
        Generator.load(str(broken), device="cpu")
    assert "broken" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_model_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # the variable is read at import
    with pytest.raises(ModelError, match="no generator 'nobody/nothing'"):
        inspect("nobody/nothing")


def test_miniature_is_found_beside_the_package_or_the_installed_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy, installed = tmp_path / "app", tmp_path / "checkout"
    monkeypatch.setattr(miniature, "_roots", lambda: iter([copy, installed]))
    with pytest.raises(ModelError, match="miniature/weights/generator-fast"):
        miniature.weights_dir("miniature-fast")
    left = copy / "miniature" / "weights" / "generator-fast"  # Flower's copy keeps .json files and drops the tensors
    left.mkdir(parents=True)
    (left / "fgl.json").write_text("{}")
    weights = installed / "miniature" / "weights" / "generator-fast"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"")
    assert miniature.weights_dir("miniature-fast") == weights


def test_precision_auto_takes_bfloat16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", cpu) == "float32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_precision("auto", cpu) == "bfloat16"
    assert resolve_precision("float32", cpu) == "float32"
    with pytest.raises(ConfigError, match="use auto, float32"):
        resolve_precision("foo", cpu)


@pytest.mark.parametrize(("key", "value"), [("steps", "four"), ("size", -32), ("guidance", None), ("steps", True)])
def test_defaults_that_are_no_numbers_are_told_in_a_sentence(
    key: str, value: object, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "odd")
    (copy / "fgl.json").write_text(json.dumps({key: value}))
    with pytest.raises(ModelError, match=f"{key} must be a number of at least 0"):
        inspect(str(copy))


def test_another_kind_of_autoencoder_tells_the_drawn_size_too(tmp_path: Path) -> None:
    """Sana's scales by 32: taken for 1, it would draw 32 px instead of 1024."""
    scale = {"encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024]}
    configs = {"transformer": {"sample_size": 32}, "vae": scale}
    for name, config in configs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text('{"_class_name": "SanaPipeline"}')
    assert inspect(str(tmp_path)).size == 1024


@pytest.mark.parametrize("which", [("unet", "vae", "text_encoder"), ("unet",)])
def test_weights_that_exist_only_as_a_variant_are_found(
    tiny_checkpoint: Path, tmp_path: Path, which: tuple[str, ...]
) -> None:
    """As in repositories that hold nothing but half-precision files; the same weights under other names."""
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "half")
    for name in which:
        (weights,) = (copy / name).glob("*.safetensors")
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    check_generator(RunConfig(generator=str(copy)))
    plain, half = (Generator.load(str(p), device="cpu").pipeline for p in (tiny_checkpoint, copy))
    assert torch.equal(plain.unet.conv_in.weight, half.unet.conv_in.weight)
    assert torch.equal(plain.vae.encoder.conv_in.weight, half.vae.encoder.conv_in.weight)
    texts = ["a sketch of a star"]
    assert torch.equal(*(PromptEncoder.load(str(p)).encode(texts) for p in (tiny_checkpoint, copy)))


def test_components_without_a_common_variant_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_checkpoint, tmp_path / "mixed")
    for name, variant in (("unet", "fp16"), ("vae", "bf16")):
        (weights,) = (copy / name).glob("*.safetensors")
        weights.rename(weights.with_suffix(f".{variant}.safetensors"))
    with pytest.raises(ModelError, match="weights only as the variant bf16, others not"):
        check_generator(RunConfig(generator=str(copy)))


def test_a_repository_of_half_precision_files_is_fetched_by_its_variant(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    copy = shutil.copytree(tiny_checkpoint, tmp_path / "hub" / "0123abc")
    asked: list[object] = []

    def download(*names: object, local_files_only: bool = False, variant: str | None = None, **options: object) -> str:
        if local_files_only:
            raise OSError("nothing is cached")
        asked.append(variant)
        for name in ("unet", "vae", "text_encoder"):
            for weights in (copy / name).glob("*.safetensors"):
                weights.rename(tmp_path / name)
            if variant:
                kind = "model" if name == "text_encoder" else "diffusion_pytorch_model"
                (tmp_path / name).rename(copy / name / f"{kind}.{variant}.safetensors")
        return str(copy)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **o: str(copy / "model_index.json"))
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    card = inspect("owner/half")
    assert (card.id, card.revision) == ("owner/half", "0123abc")
    assert asked == [None, "fp16"]
    check_generator(RunConfig(generator="owner/half"))
