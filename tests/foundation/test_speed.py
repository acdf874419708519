"""Ways to draw faster: diffusers' own calls are made, other pixels have other keys, what does not fit is refused."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation import speed as module
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.speed import Speed, speed_fault
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import check_generator, notes
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.settings import SamplingSettings, settings_for
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.tuning import compile_modules
from tests.made_images import plan_for
from tests.tiny_families import save_family

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("families")
    return {name: str(save_family(name, root / name)) for name in ("sd", "sdxl", "flux-schnell", "pixart-sigma")}


@pytest.mark.parametrize(
    ("family", "speed", "device", "expected"),
    [
        ("flux-schnell", Speed(), CPU, ""),
        ("flux-schnell", Speed("native"), CPU, ""),
        ("flux-schnell", Speed("_native_cudnn"), CUDA, ""),
        ("flux-schnell", Speed("flesh"), CUDA, "'flesh' is none of the installed diffusers': use one of flash, "),
        ("flux-schnell", Speed("flash_hub"), CUDA, "runs code that is downloaded from the hub"),
        ("flux-schnell", Speed("flash"), CPU, "needs an NVIDIA GPU, and the device is cpu: leave it empty"),
        ("flux-schnell", Speed("xformers"), CUDA, "cannot be used here (RuntimeError: Xformers Attention backend"),
        ("sdxl", Speed("native"), CUDA, "has no effect on the generator 'sdxl', a UNet2DConditionModel"),
        ("sdxl", Speed(quantisation="int8"), CUDA, "needs an extra: pip install 'fgl-flower[quantisation]'"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(
    family: str,
    speed: Speed,
    device: torch.device,
    expected: str,
    folders: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    fault = speed_fault(inspect(folders[family]), speed, device)
    assert expected in fault if expected else fault == ""
    assert active() == "native"


def active() -> str:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    return _AttentionBackendRegistry.get_active_backend()[0].value


def test_it_is_refused_before_the_round(folders: dict[str, str]) -> None:
    config = RunConfig(generator=folders["flux-schnell"], device="cpu", attention_backend="sage")
    with pytest.raises(ModelError, match="attention-backend = 'sage' needs an NVIDIA GPU"):
        check_generator(config)
    check_generator(config.model_copy(update={"attention_backend": "_native_math"}))
    own = SimpleNamespace(id="tests.toys:Painter")
    fault = speed_fault(own, Speed(quantisation="int8"), CPU)  # type: ignore[arg-type]
    assert fault == "quantisation = 'int8' has no effect on a generator of your own: leave it empty"


def test_the_denoiser_alone_takes_the_backend_and_draws_the_same(
    folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.plan._seed", lambda run, digest, replica: 1 + replica)
    images, keys = [], []
    for speed in (Speed(), Speed("_native_math")):
        generator = Generator.load(folders["flux-schnell"], device="cpu", precision="float32", speed=speed)
        blocks = generator.pipeline.transformer.transformer_blocks
        assert {block.attn.processor._attention_backend for block in blocks} == {speed.attention or None}
        assert active() == "native"
        store, plan = SyntheticStore(tmp_path / speed.attention), plan_for(generator, 1, speed=speed)
        LocalEngine(generator=generator).fill(plan, store)
        keys.append(set(plan.keys))
        images.append({image.label: image.pixels().astype(int) for image in store.read(plan.keys)})
    assert not keys[0] & keys[1]
    assert images[0].keys() == images[1].keys()
    assert max(abs(images[0][label] - images[1][label]).max() for label in images[0]) <= 1
    with pytest.raises(ModelError, match="the plan was made for flux-schnell with Speed"):
        PromptCache(generator, SamplingSettings.of(generator.card))


def test_torchaos_call_is_made_for_the_denoiser(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    stand_in = SimpleNamespace(
        quantize_=lambda model, config: calls.append((type(model).__name__, config)),
        Int8WeightOnlyConfig=lambda: "eight bits",
        Float8WeightOnlyConfig=lambda: "eight bits of floats",
    )
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(quantization=stand_in))
    for kind in ("int8", "float8"):
        Generator.load(folders["sdxl"], device="cpu", precision="float32", speed=Speed(quantisation=kind))
    assert calls == [("UNet2DConditionModel", "eight bits"), ("UNet2DConditionModel", "eight bits of floats")]
    config = RunConfig(generator=folders["sdxl"], device="cpu", quantisation="int8")
    assert settings_for(config).speed == Speed(quantisation="int8")
    plain = settings_for(config.model_copy(update={"quantisation": ""})).to_json()
    assert settings_for(config).to_json() != plain
    assert "quantisation" not in plain  # keys of older stores hold


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("sd", ["UNet2DConditionModel", "Decoder"]),
        ("sdxl", ["BasicTransformerBlock"]),
        ("flux-schnell", ["FluxTransformerBlock", "FluxSingleTransformerBlock"]),
        ("pixart-sigma", ["PixArtTransformer2DModel"]),
    ],
)
def test_the_repeated_blocks_are_compiled_where_diffusers_knows_them(
    family: str, expected: list[str], folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def note(self: torch.nn.Module, **options: Any) -> None:
        assert options == {"fullgraph": True, "dynamic": False}
        compiled.append(type(self).__name__)
        self._compiled_call_impl = self._call_impl

    monkeypatch.setattr(torch.nn.Module, "compile", note)
    generator = Generator.load(folders[family], device="cpu", precision="float32")
    compile_modules(generator)
    compile_modules(generator)
    assert list(dict.fromkeys(compiled)) == expected
    blocks = sum(type(one).__name__ == expected[0] for one in generator.pipeline.components.values()) or sum(
        type(one).__name__ == expected[0] for one in module.denoiser_of(generator.pipeline).modules()
    )
    assert compiled.count(expected[0]) == blocks  # each once


def test_nothing_is_compiled_on_a_cpu(folders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.engine.compile_modules", lambda _: pytest.fail("compiled"))
    config = RunConfig(generator=folders["sd"], device="cpu", image_size=32, compile="always")
    engine = engine_for(config)
    assert isinstance(engine, LocalEngine)
    assert engine.compiled is True
    assert notes(config) == ["compile has no effect on a CPU"]
    engine.generator = Generator.load(folders["sd"], device="cpu", precision="float32")
    engine.fill(plan_for(engine.generator, 1), SyntheticStore(tmp_path))
