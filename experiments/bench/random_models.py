"""Pipelines of the size of Stable Diffusion 2.1 and of SDXL with random weights, where no weights are at hand.

Speed and memory do not depend on what the weights are.
"""

from pathlib import Path
from typing import Any

import torch

from fgl_flower.device import resolve_device, resolve_precision
from fgl_flower.foundation.generator import Generator, GeneratorCard

SD21, SDXL = "sd21-random", "sdxl-random"
RANDOM = (SD21, SDXL)
CONTEXT = 77  # tokens of a prompt

_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
_UNETS: dict[str, dict[str, Any]] = {  # of stabilityai/stable-diffusion-2-1-base and stable-diffusion-xl-base-1.0
    SD21: {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    SDXL: {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
_SMALL = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_LARGE = {"intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
_TEXT: dict[str, tuple[dict[str, Any], ...]] = {
    SD21: (
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
        },
    ),
    SDXL: (
        {**_SMALL, "hidden_act": "quick_gelu", "projection_dim": 768},
        {**_LARGE, "hidden_size": 1280, "hidden_act": "gelu", "projection_dim": 1280},
    ),
}


def build_random(name: str, device: str = "auto", precision: str = "auto", seed: int = 0) -> Generator:
    """Return a pipeline made on the device.

    Parameters
    ----------
    name : str
        One of `RANDOM`: Stable Diffusion 2.1-base, 866 M + 84 M + 340 M parameters, 512 px, v-prediction off; or SDXL,
        2,567 M + 84 M + 123 M + 695 M parameters, 1,024 px.
    device, precision : str
        As for `Generator.load`; the device may also be 'meta', to count parameters.
    seed : int
        Seed of the weights.
    """
    import diffusers

    target = torch.device(device) if device == "meta" else resolve_device(device)
    precision = resolve_precision(precision, target)
    unet, vae, texts = _modules(name, target, getattr(torch, precision), seed)
    tokenizers = [_tokenizer() for _ in texts]  # a tokenizer holds state: each encoder has its own
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    parts: dict[str, Any] = {"vae": vae, "unet": unet, "scheduler": scheduler, "text_encoder": texts[0]}
    parts["tokenizer"] = tokenizers[0]
    if name == SDXL:
        more = {"text_encoder_2": texts[1], "tokenizer_2": tokenizers[1], "add_watermarker": False}
        pipeline: Any = diffusers.StableDiffusionXLPipeline(**parts, **more)
    else:
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = diffusers.StableDiffusionPipeline(**parts, **none)
    pipeline.set_progress_bar_config(disable=True)
    for module in (unet, vae, *texts):
        module.eval().requires_grad_(False)
    size = unet.config.sample_size * pipeline.vae_scale_factor
    kind = type(pipeline).__name__
    card = GeneratorCard(name, f"seed:{seed}", kind, "DDIMScheduler", 50, 2.0, size, Path("/nonexistent"))
    return Generator(card, pipeline, target, precision)


def _modules(name: str, device: torch.device, dtype: torch.dtype, seed: int) -> tuple[Any, Any, list[Any]]:
    """Return denoiser, autoencoder and text encoders."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    ends = _tokenizer()
    common = {
        "vocab_size": 49408,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": ends.bos_token_id,
        "eos_token_id": ends.eos_token_id,
        "pad_token_id": ends.pad_token_id,
    }
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            unet = diffusers.UNet2DConditionModel(**_UNETS[name])
            vae = diffusers.AutoencoderKL(**_VAE, sample_size=8 * _UNETS[name]["sample_size"])
            kinds = (CLIPTextModel, CLIPTextModelWithProjection)
            texts = [kind(CLIPTextConfig(**common, **sizes)) for kind, sizes in zip(kinds, _TEXT[name], strict=False)]
    finally:
        torch.set_default_dtype(before)
    return unet, vae, texts


def _tokenizer() -> Any:
    from miniature.build import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.model_max_length = CONTEXT
    return tokenizer
