"""A pipeline of Stable Diffusion 2.1's size with random weights: for speed and memory where no weights are at hand."""

from pathlib import Path
from typing import Any

import torch

from fgl_flower.device import resolve_device, resolve_precision
from fgl_flower.foundation.generator import Generator, GeneratorCard

SD21 = "sd21-random"
CONTEXT = 77  # tokens of a prompt


def build_sd21(device: str = "auto", precision: str = "auto", seed: int = 0) -> Generator:
    """Return a Stable Diffusion 2.1-base made on the device: 866 M + 84 M + 340 M parameters, 512 px, v-prediction off.

    Parameters
    ----------
    device, precision : str
        As for `Generator.load`.
    seed : int
        Seed of the weights.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    from miniature.build import build_tokenizer

    target = resolve_device(device)
    precision = resolve_precision(precision, target)
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = CONTEXT
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, precision))
    try:
        with torch.device(target):
            unet = diffusers.UNet2DConditionModel(
                sample_size=64,
                block_out_channels=(320, 640, 1280, 1280),
                attention_head_dim=(5, 10, 20, 20),
                cross_attention_dim=1024,
                use_linear_projection=True,
            )
            vae = diffusers.AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                latent_channels=4,
                sample_size=512,
            )
            text_encoder = CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=49408,
                    hidden_size=1024,
                    intermediate_size=4096,
                    num_hidden_layers=23,
                    num_attention_heads=16,
                    max_position_embeddings=CONTEXT,
                    hidden_act="gelu",
                    projection_dim=512,
                    bos_token_id=tokenizer.bos_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.pad_token_id,
                )
            )
    finally:
        torch.set_default_dtype(before)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    pipeline: Any = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    module: torch.nn.Module
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        module.eval().requires_grad_(False)
    card = GeneratorCard(
        SD21, f"seed:{seed}", "StableDiffusionPipeline", "DDIMScheduler", 50, 2.0, 512, Path("/nonexistent")
    )
    return Generator(card, pipeline, target, precision)
