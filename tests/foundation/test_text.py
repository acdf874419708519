"""The text encoder on its own, and the words it is taught: both against the pipeline that they belong to."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fgl_flower.errors import ModelError
from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.inversion import PATIENCE, Inverted, encode_images, invert, load_for_inversion
from fgl_flower.foundation.miniature import weights_dir
from fgl_flower.foundation.text import tokenizer_of

TEXTS = ["a sketch of a star", "star", "a photo of the heart " * 9, ""]


@pytest.fixture(scope="module")
def generator(tiny_checkpoint: Path) -> Generator:
    torch.set_num_threads(1)
    return Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")


@pytest.fixture(scope="module")
def encoder(generator: Generator) -> PromptEncoder:
    return PromptEncoder.of(generator)


def test_embeddings_are_the_pipelines_own(generator: Generator, encoder: PromptEncoder) -> None:
    own, _ = generator.pipeline.encode_prompt(TEXTS, generator.device, 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(encoder.encode(TEXTS), own)


def test_loaded_alone_it_says_the_same(tiny_checkpoint: Path, encoder: PromptEncoder) -> None:
    torch.testing.assert_close(PromptEncoder.load(str(tiny_checkpoint)).encode(TEXTS), encoder.encode(TEXTS))
    tokenizer = tokenizer_of(str(tiny_checkpoint))
    assert (tokenizer.length, tokenizer.width) == (16, 32)
    assert tokenizer.count("a sketch of a star") == 7  # five words between start and end
    assert tokenizer.count("star " * 100) == 102  # nothing is cut off


def test_the_fast_miniature_shares_the_encoder_of_the_other() -> None:
    fast, slow = (tokenizer_of(name) for name in ("miniature-fast", "miniature"))
    assert fast.inner.get_vocab() == slow.inner.get_vocab()
    assert (fast.length, fast.width) == (24, 64)
    assert load_for_inversion("miniature-fast", device="cpu").card.folder == weights_dir("miniature")


def test_a_learned_token_stands_where_its_words_would(encoder: PromptEncoder) -> None:
    words = encoder.words("star heart").numpy()
    learned = {"<thing>": words}
    taught, told = (
        encoder.encode(["a sketch of a <thing> the star"], learned),
        encoder.encode(["a sketch of a star heart the star"]),
    )
    torch.testing.assert_close(taught, told)
    torch.testing.assert_close(encoder.encode(["a star"], learned), encoder.encode(["a star"]))  # the others untouched


def test_learned_tokens_are_the_same_to_diffusers(tiny_checkpoint: Path, encoder: PromptEncoder) -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    other = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32").pipeline
    other.load_textual_inversion({"<thing>": torch.tensor(vectors)})
    own, _ = other.encode_prompt(["a sketch of a <thing>"], "cpu", 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(encoder.encode(["a sketch of a <thing>"], {"<thing>": vectors}), own)


def test_a_token_beyond_the_end_of_a_prompt_is_cut_off(encoder: PromptEncoder) -> None:
    long = "star " * 13
    vectors = np.ones((4, 32), np.float32)
    ids, places = encoder.tokenizer.ids(long + "<thing>", {"<thing>": 4})
    assert len(ids) == 16
    assert places == {14: ("<thing>", 0)}
    assert encoder.encode([long + "<thing>"], {"<thing>": vectors}).shape == (1, 16, 32)


def test_inversion_lowers_the_loss_and_changes_nothing_but_the_vectors(generator: Generator) -> None:
    before = {name: p.clone() for name, p in generator.pipeline.unet.state_dict().items()}
    pixels = torch.randint(0, 256, (6, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    latents = encode_images(generator, pixels)
    assert latents.shape == (6, 4, 8, 8)
    start = {"<thing>": np.zeros((2, 32), np.float32)}
    losses: list[float] = []

    def learn(steps: int, seed: int = 0, lr: float = 0.1) -> Inverted:
        losses.clear()
        return invert(
            generator,
            latents,
            ["a sketch of a <thing>"] * 6,
            start,
            steps=steps,
            batch_size=8,
            lr=lr,
            seed=seed,
            progress=lambda step, loss: losses.append(loss),
        )

    first = learn(3).vectors["<thing>"]
    assert first.shape == (2, 32)
    assert len(losses) == 3
    np.testing.assert_array_equal(first, learn(3).vectors["<thing>"])
    assert not np.array_equal(first, learn(3, seed=1).vectors["<thing>"])
    assert learn(60).loss < 0.99 * learn(1, lr=1e-12).loss  # both on the same images, noise and time steps
    assert not start["<thing>"].any()
    after = generator.pipeline.unet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_inversion_ends_when_nothing_gets_better_and_keeps_the_best(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    start = {"<thing>": np.ones((2, 32), np.float32)}
    monkeypatch.setattr("fgl_flower.foundation.inversion.CHECK", 2)
    monkeypatch.setattr("fgl_flower.foundation.inversion.CHECKED", 4)
    still = invert(generator, latents, ["a <thing>"] * 6, start, steps=100, batch_size=2, lr=1e-12)
    assert still.steps == 2 * (1 + PATIENCE)  # the first look is the best, and then none is better
    np.testing.assert_allclose(still.vectors["<thing>"], start["<thing>"], atol=1e-6)
    wild = invert(generator, latents, ["a <thing>"] * 6, start, steps=100, batch_size=2, lr=50.0)
    calm = invert(generator, latents, ["a <thing>"] * 6, start, steps=100, batch_size=2, lr=0.05)
    assert calm.loss < wild.loss


def test_words_are_learned_from_parts_of_a_batch_alike(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    hook = generator.pipeline.unet.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))

    def learned() -> np.ndarray:
        calls.clear()
        start = {"<thing>": np.ones((2, 32), np.float32)}
        return invert(generator, latents, ["a <thing>"] * 6, start, steps=1, batch_size=5).vectors["<thing>"]

    monkeypatch.setattr("fgl_flower.foundation.inversion.CHECKED", 3)
    whole = learned()
    assert calls == [5, 3]  # the second is the look at the loss
    monkeypatch.setattr("fgl_flower.foundation.inversion.LATENTS_PER_STEP", 2 * 8 * 8)
    parts = learned()
    hook.remove()
    assert calls == [2, 2, 1, 2, 1]
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_a_pipeline_without_clip_is_told_in_a_sentence(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', encoding="utf-8")
    with pytest.raises(ModelError, match="no tokenizer and text encoder"):
        tokenizer_of(str(tmp_path))
