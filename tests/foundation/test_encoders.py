"""Prompt embeddings with a pooled vector: what clients encode draws what the text itself draws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.foundation.encoders import Condition, PromptEncoder, embedding_shape, token_width, unpack
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.prompt_families import PooledShape, family_of
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from strategies.planning import ladder, limits_for
from tests.tiny_families import save_family

POOLED = ("sdxl", "sd3", "flux-dev", "flux-schnell")
LEARNED = ("sdxl", "sd3")
TEXTS = ["a photo of a star", "a sketch of the circle"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in (*POOLED, "lcm")}


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.data())
def test_packing_loses_nothing(rows: int, tokens: int, width: int, data: st.DataObject) -> None:
    pooled = data.draw(st.integers(1, width))
    attended, vectors = torch.randn(rows, tokens, width), torch.randn(rows, pooled)
    shape = PooledShape(tokens, width, pooled)
    packed = Condition(attended, vectors).packed
    assert packed.shape[1:] == shape.packed
    assert all(map(torch.equal, unpack(packed, shape), (attended, vectors)))


@pytest.mark.parametrize("family", POOLED)
def test_the_shape_is_told_from_the_configuration(family: str, folders: dict[str, Path]) -> None:
    encoded = PromptEncoder.load(str(folders[family])).encode(TEXTS)
    shape = embedding_shape(str(folders[family]))
    assert tuple(encoded.shape) == (2, *shape.packed)
    last = encoded[:, -1]
    assert last[:, : shape.pooled].abs().sum() > 0
    assert last[:, shape.pooled :].abs().sum() == 0
    config = RunConfig(generator=str(folders[family]), prompt_level="embeddings", device="cpu")
    assert limits_for(config).embedding == shape.packed


def test_others_keep_theirs(tiny_checkpoint: Path) -> None:
    assert embedding_shape(str(tiny_checkpoint)).packed == (16, 32)
    assert token_width(str(tiny_checkpoint)) == 32


@pytest.mark.parametrize("family", POOLED)
def test_loaded_alone_they_say_what_the_pipeline_says(family: str, folders: dict[str, Path]) -> None:
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    pipeline, encoder = generator.pipeline, PromptEncoder.load(str(folders[family]))
    long = [*TEXTS, "the star of a " * 9]  # CLIP's encoders cut it off
    if family in LEARNED:
        more = {"prompt_3": None} if family == "sd3" else {}
        attended, _, pooled, _ = pipeline.encode_prompt(
            long, prompt_2=None, device="cpu", do_classifier_free_guidance=False, **more
        )
    else:
        length = 512 if family == "flux-dev" else 256
        attended, pooled, _ = pipeline.encode_prompt(long, None, "cpu", max_sequence_length=length)
    for one in (encoder, PromptEncoder.of(generator)):
        both = unpack(one.encode(long), encoder.shape)
        assert torch.equal(both.attended, attended)
        assert torch.equal(both.pooled, pooled)


@pytest.mark.parametrize("family", LEARNED)
def test_a_token_of_a_words_embeddings_is_that_word(family: str, folders: dict[str, Path]) -> None:
    encoder = PromptEncoder.load(str(folders[family]))
    words = encoder.words("star heart")
    assert words.shape == (2, token_width(str(folders[family]))) == (2, sum(encoder.widths))
    text = "a sketch of a {} the circle"
    # T5 reads the name that the token was given, which here is of the same words.
    taught = encoder.encode([text.format("<star-heart>")], {"<star-heart>": words.numpy()})
    assert torch.equal(taught, encoder.encode([text.format("star heart")]))
    for part, _ in enumerate(encoder.widths):  # the vectors of either encoder alone change what is said
        other = [one.clone() for one in words.split(encoder.widths, dim=1)]
        other[part] += 1
        changed = encoder.encode(["a <star-heart>"], {"<star-heart>": torch.cat(other, dim=1).numpy()})
        assert (changed - encoder.encode(["a star heart"])).abs().max() > 1e-3


def test_tokens_are_the_same_to_diffusers(folders: dict[str, Path]) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 48)).astype(np.float32)
    pipeline = Generator.load(str(folders["sdxl"]), device="cpu", precision="float32").pipeline
    tokenizers = (pipeline.tokenizer, type(pipeline.tokenizer).from_pretrained(folders["sdxl"] / "tokenizer_2"))
    pipeline.tokenizer_2 = tokenizers[1]
    widths = [(0, 16), (16, 48)]  # width 16 for the first encoder, 32 for the second
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    for (start, end), tokenizer, model in zip(widths, tokenizers, encoders, strict=True):
        part = torch.tensor(vectors[:, start:end])
        pipeline.load_textual_inversion({"<thing>": part}, tokenizer=tokenizer, text_encoder=model)
    attended, _, pooled, _ = pipeline.encode_prompt(["a sketch of a <thing>"], do_classifier_free_guidance=False)
    encoder = PromptEncoder.load(str(folders["sdxl"]))
    both = unpack(encoder.encode(["a sketch of a <thing>"], {"<thing>": vectors}), encoder.shape)
    torch.testing.assert_close(both.attended, attended)
    torch.testing.assert_close(both.pooled, pooled)


def test_stable_diffusion_3_without_t5_takes_zeros_for_it(folders: dict[str, Path], tmp_path: Path) -> None:
    pipeline = Generator.load(str(folders["sd3"]), device="cpu", precision="float32").pipeline
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(tmp_path)
    encoder = PromptEncoder.load(str(tmp_path))
    attended, _, pooled, _ = pipeline.encode_prompt(TEXTS, None, None, device="cpu", do_classifier_free_guidance=False)
    both = unpack(encoder.encode(TEXTS), embedding_shape(str(tmp_path)))
    assert torch.equal(both.attended, attended)
    assert torch.equal(both.pooled, pooled)
    check_generator(configured(tmp_path, "tokens"))


def drawn(generator: Generator, plan: SynthesisPlan, folder: Path) -> dict[int, np.ndarray]:
    """Return the pixels of a plan's images by seed."""
    store = SyntheticStore(folder)
    assert LocalEngine(generator=generator).fill(plan, store).drawn == len(plan)
    return {image.seed: image.pixels() for image in store.read(plan.keys)}


@pytest.mark.parametrize(
    ("family", "guidance"), [("sdxl", 1.0), ("sdxl", 3.0), ("sd3", 3.0), ("flux-dev", 3.0), ("flux-schnell", 1.0)]
)
def test_an_embedding_draws_what_its_text_draws(
    family: str, guidance: float, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fgl_flower.synthesis.plan._seed", lambda run, digest, replica: 1 + replica)
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    negative = "the heart" if guidance > 1 and family != "flux-dev" else ""
    settings = SamplingSettings.of(generator.card, guidance=guidance, negative_prompt=negative)
    embedding = PromptEncoder.load(str(folders[family])).encode(TEXTS).numpy()
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
    plans = [plan_of([(text, "star", "", 1)], settings, 0) for text in TEXTS]
    same, another = (drawn(generator, plan, tmp_path / str(i))[1] for i, plan in enumerate(plans))
    assert np.abs(changed.astype(int) - same).max() > 1
    assert np.abs(another.astype(int) - same).max() > 1


@pytest.mark.parametrize("family", ["sdxl", "flux-schnell"])
def test_texts_and_embeddings_of_one_plan_keep_their_images(
    family: str, folders: dict[str, Path], tmp_path: Path, one_thread: None
) -> None:
    generator = Generator.load(str(folders[family]), device="cpu", precision="float32")
    settings = SamplingSettings.of(generator.card)
    arrays = {"embedded": PromptEncoder.load(str(folders[family])).encode(TEXTS[:1])[0].numpy()}
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
        if family in LEARNED:
            check_generator(configured(folders[family], "tokens"))
        else:
            with pytest.raises(ModelError, match=r"set prompt-level to names, .*, instance, embeddings, votes or auto"):
                check_generator(configured(folders[family], "tokens"))
        tokens = ["tokens"] if family in LEARNED else []
        assert ladder(configured(folders[family], "auto")) == ["class-style", "instance", "embeddings", *tokens]
    with pytest.raises(
        ModelError, match="StableDiffusion3Pipeline or a FluxPipeline, with its usual CLIP text encoder"
    ):
        check_generator(configured(folders["lcm"], "embeddings"))
    assert ladder(configured(folders["lcm"], "auto")) == ["class-style", "instance"]


REAL = {  # of the published checkpoints' configurations: (hidden_size, projection_dim) of CLIP's encoders
    "StableDiffusionPipeline": ([(768, 768)], {}, (77, 768), 768),
    "StableDiffusionXLPipeline": ([(768, 768), (1280, 1280)], {}, (77 + 1, 768 + 1280), 768 + 1280),
    "StableDiffusion3Pipeline": (
        [(768, 768), (1280, 1280)],
        {"joint_attention_dim": 4096},
        (77 + 256 + 1, 4096),
        768 + 1280,
    ),
    "FluxPipeline": ([(768, 768)], {"joint_attention_dim": 4096, "guidance_embeds": True}, (512 + 1, 4096), 768),
}


@pytest.mark.parametrize("pipeline", REAL)
def test_shapes_of_the_published_checkpoints(pipeline: str, tmp_path: Path) -> None:
    clips, transformer, packed, token = REAL[pipeline]
    for name, (hidden, projection) in zip(("text_encoder", "text_encoder_2"), clips, strict=False):
        (tmp_path / name).mkdir()
        config = {"model_type": "clip_text_model", "hidden_size": hidden, "projection_dim": projection}
        (tmp_path / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(transformer), encoding="utf-8")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}), encoding="utf-8")
    card = inspect(str(tmp_path))
    family = family_of(card)
    assert family is not None
    assert family.shape(card, 77).packed == packed
    assert family.token_width(card) == token
    if pipeline == "FluxPipeline":
        (tmp_path / "transformer" / "config.json").write_text('{"joint_attention_dim": 4096}', encoding="utf-8")
        assert family.shape(card, 77).packed == (256 + 1, 4096)
        assert (SamplingSettings.of(card).prompt_tokens, SamplingSettings.of(card).steps) == (256, card.steps)
