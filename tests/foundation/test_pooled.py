"""Prompt embeddings with a pooled vector: what clients encode draws what the text itself draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.pooled import PooledEncoder, PooledShape, embedding_shape, pack, prompt_encoder, unpack
from fgl_flower.foundation.text import TextEncoder
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from strategies.planning import ladder, limits_for
from tests.tiny_families import save_family

POOLED = ("sdxl", "sd3")
TEXTS = ["a photo of a star", "a sketch of the circle"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in (*POOLED, "flux-dev")}


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.data())
def test_packing_loses_nothing(rows: int, tokens: int, width: int, data: st.DataObject) -> None:
    pooled = data.draw(st.integers(1, width))
    attended, vectors = torch.randn(rows, tokens, width), torch.randn(rows, pooled)
    shape = PooledShape(tokens, width, pooled)
    packed = pack(attended, vectors)
    assert packed.shape[1:] == shape.packed
    assert all(map(torch.equal, unpack(packed, shape), (attended, vectors)))


@pytest.mark.parametrize("family", POOLED)
def test_the_shape_is_told_from_the_configuration(family: str, folders: dict[str, Path]) -> None:
    encoded = PooledEncoder.load(str(folders[family])).encode(TEXTS)
    shape = embedding_shape(str(folders[family]))
    assert tuple(encoded.shape) == (2, *shape.packed)
    last = encoded[:, -1]
    assert last[:, : shape.pooled].abs().sum() > 0
    assert last[:, shape.pooled :].abs().sum() == 0
    config = RunConfig(generator=str(folders[family]), prompt_level="embeddings", device="cpu")
    assert limits_for(config).embedding == shape.packed


def test_others_keep_theirs(tiny_checkpoint: Path) -> None:
    assert embedding_shape(str(tiny_checkpoint)).packed == (16, 32)
    assert isinstance(prompt_encoder(Origin(str(tiny_checkpoint))), TextEncoder)


def drawn(generator: Generator, plan: SynthesisPlan, folder: Path) -> dict[int, np.ndarray]:
    """Return the pixels of a plan's images by seed."""
    store = SyntheticStore(folder)
    assert LocalEngine(generator=generator).fill(plan, store).drawn == len(plan)
    return {image.seed: image.pixels() for image in store.read(plan.keys)}


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("family", POOLED)
def test_an_embedding_draws_what_its_text_draws(
    family: str, guidance: float, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.plan._seed", lambda run, digest, replica: 1 + replica)
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    negative = "the heart" if guidance > 1 else ""
    settings = SamplingSettings.of(generator.card, guidance=guidance, negative_prompt=negative)
    embedding = PooledEncoder.load(str(folders[family])).encode(TEXTS).numpy()
    names = ["one", "two"]
    for text, name, array in zip(TEXTS, names, embedding, strict=True):
        by_text = drawn(generator, plan_of([(text, "star", "", 3)], settings, 0), tmp_path / f"{name} text")
        plan = plan_of([(name, "star", "", 3)], settings, 0, {name: array})
        by_array = drawn(generator, plan, tmp_path / f"{name} array")
        assert len(by_text) == 3
        for seed, pixels in by_text.items():
            assert np.abs(pixels.astype(int) - by_array[seed]).max() <= 1
    other = embedding[0].copy()
    other[-1] = embedding[1][-1]  # another pooled vector alone draws another image
    plan = plan_of([("mixed", "star", "", 1)], settings, 0, {"mixed": other})
    (changed,) = drawn(generator, plan, tmp_path / "mixed").values()
    same = drawn(generator, plan_of([(TEXTS[0], "star", "", 1)], settings, 0), tmp_path / "same")[1]
    assert np.abs(changed.astype(int) - same).max() > 1


@pytest.mark.parametrize("family", POOLED)
def test_texts_and_embeddings_of_one_plan_keep_their_images(
    family: str, folders: dict[str, Path], tmp_path: Path, one_thread: None
) -> None:
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    settings = SamplingSettings.of(generator.card)
    arrays = {"embedded": PooledEncoder.load(str(folders[family])).encode(TEXTS[:1])[0].numpy()}
    rows = [(TEXTS[1], "circle", "", 5), ("embedded", "star", "", 5)]
    both = plan_of(rows, settings, 0, arrays)
    alone = [plan_of([row], settings, 0, arrays) for row in rows]
    store = SyntheticStore(tmp_path / "both")
    LocalEngine(generator=generator, batch_size=4).fill(both, store)
    expected: dict[str, str] = {}
    for number, plan in enumerate(alone):
        own = SyntheticStore(tmp_path / str(number))
        LocalEngine(generator=generator).fill(plan, own)
        expected |= own.hashes(plan.keys)
    assert store.hashes(both.keys) == expected
    assert len(set(expected.values())) == 10


def test_arrays_of_another_shape_are_refused(folders: dict[str, Path]) -> None:
    generator = Generator.load(str(folders["sdxl"]), device="cpu", precision="float32")
    prompts = PromptCache(generator, SamplingSettings.of(generator.card))
    with pytest.raises(ModelError, match=r"expected \(17, 48\), the pooled vector in the last row"):
        prompts.encode(["x"], {"x": np.zeros((16, 48), np.float32)})


def configured(folder: Path, level: str, **keys: Any) -> RunConfig:
    return RunConfig(generator=str(folder), prompt_level=level, device="cpu", **keys)


def test_what_each_family_takes_is_told_before_the_round(folders: dict[str, Path]) -> None:
    for family in POOLED:
        check_generator(configured(folders[family], "embeddings"))
        with pytest.raises(ModelError, match=r"set prompt-level to names, .*, instance, embeddings, votes or auto"):
            check_generator(configured(folders[family], "tokens"))
        assert ladder(configured(folders[family], "auto")) == ["class-style", "instance", "embeddings"]
    with pytest.raises(ModelError, match="XLPipeline or a StableDiffusion3Pipeline, and the generator"):
        check_generator(configured(folders["flux-dev"], "embeddings"))
    assert ladder(configured(folders["flux-dev"], "auto")) == ["class-style", "instance"]
