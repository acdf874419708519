"""LoRA weights: fused as their definition says, and refused before any client is asked where they do not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation import lora as loras
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.inversion import load_for_inversion
from fgl_flower.foundation.lora import FILE
from fgl_flower.foundation.origin import Origin
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan
from tests.tiny_families import save_family
from tests.tiny_models import save_text_to_image

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def lora(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the denoiser and the text encoder, as diffusers saves those that it has trained."""
    return save_lora(tiny_checkpoint, tmp_path_factory.mktemp("lora") / "style")


def save_lora(checkpoint: Path, folder: Path) -> Path:
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint)
    torch.manual_seed(3)
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    pipeline.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    pipeline.save_lora_weights(
        folder,
        unet_lora_layers=get_peft_model_state_dict(pipeline.unet),
        text_encoder_lora_layers=get_peft_model_state_dict(pipeline.text_encoder),
    )
    return folder


def configured(generator: Path | str, place: Path | str, **keys: Any) -> RunConfig:
    return RunConfig(
        generator=str(generator), generator_lora=str(place), device="cpu", synthesis_precision="float32", **keys
    )


def refused(generator: Path | str, place: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        check_generator(configured(generator, place))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_weights_are_those_of_the_base_plus_the_scaled_product(tiny_checkpoint: Path, lora: Path, scale: float) -> None:
    base = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32").pipeline
    fused = Generator.load(
        Origin(str(tiny_checkpoint), lora=str(lora), lora_scale=scale), device="cpu", precision="float32"
    ).pipeline
    tensors = load_file(lora / FILE)
    down, up = (tensors[f"unet.{LAYER}.lora_{side}.weight"] for side in "AB")  # (2, in), (out, 2)
    layer = base.unet.get_submodule(LAYER).weight
    torch.testing.assert_close(fused.unet.get_submodule(LAYER).weight, layer + scale * up @ down)
    assert torch.equal(fused.unet.conv_in.weight, base.unet.conv_in.weight)
    assert not any("lora" in name for name, _ in fused.unet.named_parameters())
    assert not any(parameter.requires_grad for parameter in fused.unet.parameters())


def test_images_are_others_and_filed_under_other_keys(tiny_checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    store, digests, keys = SyntheticStore(tmp_path / "store"), set(), set()
    for keywords in ({}, {"lora": lora}, {"lora": lora, "scale": 0.5}):
        config = configured(
            tiny_checkpoint, keywords.get("lora", ""), generator_lora_scale=keywords.get("scale", 1.0), image_size=28
        )
        check_generator(config)
        plan = even_plan([Told("a photo of a star", "star")], 4, settings_for(config))
        assert engine_for(config).fill(plan, store).drawn == 4
        digests.add(store.digest(plan))
        keys |= set(plan.keys)
    assert (len(digests), len(keys)) == (3, 12)


def test_the_revision_follows_bytes_and_scale_not_the_place(tiny_checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    def revision(place: Path | str, scale: float = 1.0) -> str:
        return inspect(Origin(str(tiny_checkpoint), lora=str(place), lora_scale=scale)).revision

    base = inspect(str(tiny_checkpoint)).revision
    copy = shutil.copy(lora / FILE, tmp_path / "renamed.safetensors")
    assert revision(lora) == revision(lora / FILE) == revision(copy) != base
    assert revision(lora, 0.5) != revision(lora)
    save_file({name: 2 * tensor for name, tensor in load_file(lora / FILE).items()}, copy)
    assert revision(copy) != revision(lora)
    assert revision("") == base


def test_what_clients_use_of_the_generator_carries_it(tiny_checkpoint: Path, lora: Path) -> None:
    origin = Origin(str(tiny_checkpoint), lora=str(lora))
    texts = ["a photo of a star"]
    plain, changed = (PromptEncoder.load(one).encode(texts) for one in (Origin(str(tiny_checkpoint)), origin))
    assert not torch.equal(plain, changed)
    drawing = PromptEncoder.of(Generator.load(origin, device="cpu", precision="float32"))
    assert torch.equal(drawing.encode(texts), changed)
    inverted = [load_for_inversion(one, device="cpu").pipeline.unet for one in (origin, str(tiny_checkpoint))]
    assert not torch.equal(*(unet.get_submodule(LAYER).weight for unet in inverted))


def test_a_lora_of_another_width_is_refused(lora: Path, tmp_path: Path) -> None:
    wider = save_text_to_image(tmp_path / "wider", width=24)
    told = refused(wider, lora)
    assert f"its layer unet.{LAYER.removesuffix('to_q')}to_k is of 24 inputs" in told
    assert told.endswith("the LoRA's of 16")


def test_a_lora_of_layers_that_are_not_there_is_refused(tiny_checkpoint: Path, lora: Path, tmp_path: Path) -> None:
    tensors = load_file(lora / FILE)
    deeper = {name.replace("down_blocks.0", "down_blocks.7"): tensor for name, tensor in tensors.items()}
    save_file(deeper, tmp_path / FILE)
    assert "which has no layer unet.down_blocks.7" in refused(tiny_checkpoint, tmp_path)


def test_a_lora_of_another_family_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    save_file({f"transformer.blocks.0.to_q.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}, tmp_path / FILE)
    assert "it changes transformer and not its text_encoder or unet" in refused(tiny_checkpoint, tmp_path).replace(
        "unet or text_encoder", "text_encoder or unet"
    )


def test_a_pipeline_without_lora_says_so(lora: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "PixArtSigmaPipeline"}))
    assert "a PixArtSigmaPipeline takes no LoRA" in refused(tmp_path, lora)


def _garbage(folder: Path) -> Path:
    (folder / FILE).write_bytes(b"no tensors")
    return folder


def _two(folder: Path) -> Path:
    for name in "ab":
        save_file({"x": torch.ones(1)}, folder / f"{name}.safetensors")
    return folder


def _pickle(folder: Path) -> Path:
    (folder / "lora.bin").touch()
    return folder / "lora.bin"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "nothing.safetensors", "no such file or folder"),
        (lambda folder: "./nothing", "no such file or folder"),
        (lambda folder: folder, "holds no .safetensors file"),
        (_two, "holds several"),
        (_pickle, "a pickle may run code"),
        (_garbage, "no LoRA that diffusers can read"),
    ],
)
def test_what_is_no_lora_is_told_in_a_sentence(
    make: Callable[[Path], Path | str], sentence: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert sentence in refused(tiny_checkpoint, make(tmp_path))


def test_the_hub_is_asked_for_the_usual_file_or_the_one_named(
    tiny_checkpoint: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str]] = []

    def download(repo: str, file: str, local_files_only: bool = False) -> str:
        asked.append((repo, file))
        return str(lora / FILE)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    for place in ("owner/name", "owner/name/style.safetensors", "owner/name/folder/style.safetensors"):
        check_generator(configured(tiny_checkpoint, place))
    assert set(asked) == {
        ("owner/name", FILE),
        ("owner/name", "style.safetensors"),
        ("owner/name", "folder/style.safetensors"),
    }


def test_an_unknown_id_is_told_by_its_key(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert refused(tiny_checkpoint, "nobody/nothing").startswith("no generator-lora 'nobody/nothing': it is not cached")


def test_without_peft_the_extra_is_named(tiny_checkpoint: Path, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loras, "find_spec", lambda name: None)
    loras._fault.cache_clear()
    assert "pip install 'fgl-flower[lora]'" in refused(tiny_checkpoint, lora)
    loras._fault.cache_clear()


def test_a_loaded_engine_takes_an_origin(tiny_checkpoint: Path, lora: Path) -> None:
    engine = LocalEngine(Origin(str(tiny_checkpoint), lora=str(lora)), device="cpu")
    assert engine.origin.lora == str(lora)


@pytest.mark.parametrize(("family", "layers"), [("sdxl", 8), ("sd3", 1), ("flux-dev", 2), ("sana", 2)])
def test_denoisers_of_other_families_take_theirs(family: str, layers: int, tmp_path: Path) -> None:
    import diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    folder = save_family(family, tmp_path / family)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    name = "unet" if family == "sdxl" else "transformer"
    denoiser = getattr(pipeline, name)
    denoiser.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    pipeline.save_lora_weights(tmp_path / "lora", **{f"{name}_lora_layers": get_peft_model_state_dict(denoiser)})
    check_generator(configured(folder, tmp_path / "lora"))
    origins = (Origin(str(folder)), Origin(str(folder), lora=str(tmp_path / "lora")))
    base, fused = (
        getattr(Generator.load(one, device="cpu", precision="float32").pipeline, name).state_dict() for one in origins
    )
    assert base.keys() == fused.keys()
    changed = [key for key in base if not torch.equal(base[key], fused[key])]
    assert len(changed) == layers
    assert all("to_q" in key for key in changed)
