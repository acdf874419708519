"""The miniature models, untrained: every part is the library's own class, only small."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

from miniature.texts import MAX_TOKENS, WORDS

TEXT_WIDTH = 64
NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def merges_for(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return byte-pair merges under which every word is one token.

    Merges copied from each word's own prefixes collide ("tri" of "tri-angle" eats into other words). Here a merge is
    only ever appended, at the lowest rank, for a word that the merges so far leave in pieces: a word once whole never
    reaches a later merge, so it stays whole.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        while len(pieces := _split(word, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def _split(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    while True:
        pairs = [(ranks[p], i) for i, p in enumerate(pairwise(pieces)) if p in ranks]
        if not pairs:
            return pieces
        i = min(pairs)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


def build_tokenizer() -> CLIPTokenizer:
    """Return a CLIP tokenizer for which every word of the world is one token; other words fall into letters."""
    merges = merges_for(WORDS)
    letters = [chr(c) for c in range(ord("!"), ord("~") + 1)]
    tokens = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges)]
    vocabulary = {t: i for i, t in enumerate(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = "\n".join(f"{a} {b}" for a, b in merges)
        (Path(folder) / "merges.txt").write_text(f"#version: 0.2\n{lines}\n", encoding="utf-8")
        settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_TOKENS}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return the untrained text encoder: 2 layers, 64 wide, 24 tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_autoencoder() -> AutoencoderKL:
    """Return the untrained autoencoder: (3, 32, 32) <-> (4, 8, 8)."""
    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(24, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        scaling_factor=1.0,
    )


def build_denoiser() -> UNet2DConditionModel:
    """Return the untrained denoiser of (4, 8, 8) latents, conditioned on (24, 64) text states."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(40, 72),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(5, 9),  # heads a block, of 8 channels each
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
    )


def solver() -> DPMSolverMultistepScheduler:
    """Return the sampler of the generator: DPM-Solver++, second order."""
    return DPMSolverMultistepScheduler(
        **NOISE, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing="trailing"
    )


def few_step_solver() -> DDIMScheduler:
    """Return the sampler of the distilled generator: deterministic DDIM on trailing steps."""
    return DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")


def build_captioner() -> tuple[BlipForConditionalGeneration, BlipProcessor]:
    """Return an untrained BLIP captioner of 32x32 images and its processor (word-level vocabulary)."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.txt").write_text("\n".join([*special, *WORDS, ",", "."]) + "\n", encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "model_max_length": MAX_TOKENS}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        tokenizer = BertTokenizer.from_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 88,
        "encoder_hidden_size": 88,
        "intermediate_size": 264,
        "projection_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    vision = {
        "hidden_size": 88,
        "intermediate_size": 352,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 4,
    }
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=64))
    half = [0.5, 0.5, 0.5]
    images = BlipImageProcessorPil(size={"height": 32, "width": 32}, image_mean=half, image_std=half)
    return model, BlipProcessor(images, tokenizer)


def parameters(*models: torch.nn.Module) -> int:
    """Return the number of parameters of the models together."""
    return sum(p.numel() for m in models for p in m.parameters())
