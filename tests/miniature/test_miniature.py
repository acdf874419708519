"""The recipe of the miniature models: words, resumption, latents; and the shipped weights through the usual loaders."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fgl_flower.data.world import draw_split
from miniature.build import build_autoencoder, build_tokenizer
from miniature.fitting import OutOfTimeError, Schedule, fit
from miniature.public import load_public, to_model
from miniature.recipe import WEIGHTS
from miniature.stages import Site, train_autoencoder, train_decoder
from miniature.texts import MAX_TOKENS, WORDS, prompts


def test_every_word_of_the_world_is_one_token_and_others_are_still_readable() -> None:
    tokenizer = build_tokenizer()
    assert all(len(tokenizer(word).input_ids) == 3 for word in WORDS)  # start, word, end
    assert len(set(tokenizer(" ".join(WORDS)).input_ids)) == len(WORDS) + 2
    assert len(tokenizer("zebra").input_ids) == 2 + len("zebra")


def test_every_training_prompt_fits_the_text_encoder_and_names_its_class() -> None:
    tokenizer = build_tokenizer()
    for i, drawing in enumerate(draw_split("public", 120)):
        variants = prompts(drawing, np.random.default_rng(i))
        assert all(drawing.label in variant for variant in variants)
        assert max(len(ids) for ids in tokenizer(variants).input_ids) <= MAX_TOKENS


def test_an_interrupted_stage_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def sitting(folder: str, deadline: float | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 4)

        def loss_of(generator: torch.Generator) -> torch.Tensor:
            x = torch.randn(8, 4, generator=generator)
            return (model(x) - x.flip(1)).square().mean()

        fit("t", model, loss_of, Schedule(30, 1e-2), tmp_path / folder / "t.safetensors", seed=1, deadline=deadline)
        return model.weight.detach().clone()

    straight = sitting("a", None)
    for _ in range(3):
        with pytest.raises(OutOfTimeError):
            sitting("b", time.monotonic() - 1)  # one step a sitting
    torch.testing.assert_close(sitting("b", None), straight, rtol=0, atol=0)
    assert not torch.equal(straight, torch.nn.Linear(4, 4).weight)


def test_latents_are_centred_with_unit_variance_and_still_decode_to_the_same_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_autoencoder()
    pixels = load_public(64, workers=1).pixels
    images = to_model(pixels)
    with torch.no_grad():
        before = model.decode(model.encode(images).latent_dist.mean).sample
    train_autoencoder(model, pixels, Schedule(1, 0.0, ema=0.0), Site(tmp_path, seed=0, batch=2))
    with torch.no_grad():
        latents = model.encode(images).latent_dist.mean
        after = model.decode(latents).sample
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_training_the_decoder_leaves_the_latents_and_draws_nearer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, pixels = (
        build_autoencoder(),
        torch.from_numpy(np.stack([d.image for d in draw_split("private", 24)]).transpose(0, 3, 1, 2)),
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = pixels.float() / 127.5 - 1

    def error() -> float:
        with torch.no_grad():
            return float((model.decode(model.encode(images).latent_dist.mean).sample - images).abs().mean())

    first = error()
    train_decoder(model, pixels, Schedule(20, 1e-3, ema=0.0), Site(tmp_path, seed=0, batch=8))
    assert error() < 0.9 * first
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_shipped_weights_are_fp16_safetensors_of_ten_megabytes_at_most() -> None:
    files = [f for f in WEIGHTS.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 10_000_000
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".txt", ".md"}


def test_the_shipped_captioner_names_colour_size_and_class_of_most_private_images() -> None:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(WEIGHTS / "captioner", dtype=torch.float32).eval()
    processor = BlipProcessor.from_pretrained(WEIGHTS / "captioner")
    drawings = draw_split("private", 120)
    pixels = processor(images=[d.image for d in drawings], return_tensors="pt").pixel_values
    captions = processor.batch_decode(
        model.generate(pixel_values=pixels, max_new_tokens=20, do_sample=False), skip_special_tokens=True
    )
    right = [{d.colour, d.size, d.label} <= set(caption.split()) for d, caption in zip(drawings, captions, strict=True)]
    assert np.mean(right) >= 0.9
