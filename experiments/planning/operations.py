"""Floating-point operations of drawing an image, from the configuration files of a generator: no weight is read."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl_flower.foundation.checkpoints import component_config
from fgl_flower.foundation.halves import COMBINED
from fgl_flower.synthesis.settings import SamplingSettings

if TYPE_CHECKING:
    from fgl_flower.foundation.generator import GeneratorCard


def drawing_flops(
    card: "GeneratorCard", settings: SamplingSettings, parameters: Mapping[str, int]
) -> tuple[float | None, str]:
    """Return the operations of one image and what they rest on; None where this kind of denoiser cannot be counted.

    A Stable Diffusion UNet is built on torch's meta device and its products are counted; a transformer takes about two
    operations a parameter and token. The autoencoder's decoder is counted where it is an AutoencoderKL.

    Parameters
    ----------
    card : GeneratorCard
    settings : SamplingSettings
    parameters : mapping of str to int
        Of each component, see `pipeline_parameters`.
    """
    if card.pipeline in COMBINED.values():
        return None, "the operations of a prior and its decoder are not counted"
    step, how = _denoiser(card.folders, settings.size, parameters)
    if step is None:
        return None, how
    guided = settings.steps * (settings.guidance_until - settings.guidance_from) if settings.guided else 0.0
    passes = settings.steps + guided
    decoder = _decoder(card.folders, settings.size)
    basis = f"{passes:g} passes of {step / 1e9:,.3g} GFLOP ({how})"
    basis += f" and {decoder / 1e9:,.3g} GFLOP to decode" if decoder else ", without the decoder"
    return passes * step + (decoder or 0.0), basis


def _denoiser(folders: Sequence[Path], size: int, parameters: Mapping[str, int]) -> tuple[float | None, str]:
    unet, transformer = component_config(folders, "unet"), component_config(folders, "transformer")
    if unet.get("_class_name") == "UNet2DConditionModel":
        side = max(1, size // _scale(folders))
        counted = _unet(_frozen(folders), side)
        return counted, "counted on the meta device" if counted else "those of its UNet could not be counted"
    if transformer and "transformer" in parameters:
        scale = 32 if "Sana" in str(transformer.get("_class_name")) or "DC" in _vae_class(folders) else _scale(folders)
        patch = transformer.get("patch_size") or 1
        if "Flux" in str(transformer.get("_class_name")):
            patch = 2 * patch  # its pipeline packs latents two by two
        tokens = (size // scale // patch) ** 2
        return 2.0 * parameters["transformer"] * tokens, f"2 x parameters x {tokens:,} image tokens"
    return None, "the operations of this kind of denoiser are not counted"


def _scale(folders: Sequence[Path]) -> int:
    blocks = component_config(folders, "vae").get("block_out_channels", ())
    return int(2 ** max(len(blocks) - 1, 0))


def _vae_class(folders: Sequence[Path]) -> str:
    return str(component_config(folders, "vae").get("_class_name", ""))


def _frozen(folders: Sequence[Path]) -> tuple[str, ...]:
    return tuple(map(str, folders))


@lru_cache(maxsize=8)
def _unet(folders: tuple[str, ...], side: int) -> float | None:
    import diffusers
    import torch

    config = component_config([Path(folder) for folder in folders], "unet")
    cross = config.get("cross_attention_dim")
    width = cross if isinstance(cross, int) else (cross or [0])[0]

    def run() -> None:
        unet: Any = diffusers.UNet2DConditionModel.from_config(config)
        more: dict[str, Any] = {}
        if config.get("addition_embed_type") == "text_time":  # Stable Diffusion XL: sizes and the pooled prompt
            times = 6 * config["addition_time_embed_dim"]
            pooled = config["projection_class_embeddings_input_dim"] - times
            more = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
        latents = torch.empty(1, config["in_channels"], side, side)
        unet(latents, torch.empty(1), torch.empty(1, 77, width), added_cond_kwargs=more)

    return _counted(run)


@lru_cache(maxsize=8)
def _decoded(folders: tuple[str, ...], side: int) -> float | None:
    import diffusers
    import torch

    config = component_config([Path(folder) for folder in folders], "vae")

    def run() -> None:
        vae: Any = diffusers.AutoencoderKL.from_config(config)
        vae.decode(torch.empty(1, config["latent_channels"], side, side))

    return _counted(run)


def _decoder(folders: Sequence[Path], size: int) -> float | None:
    if _vae_class(folders) != "AutoencoderKL":
        return None
    return _decoded(_frozen(folders), max(1, size // _scale(folders)))


def _counted(run: Any) -> float | None:
    """Return the operations of what `run` does on torch's meta device; None if it cannot be done there."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
            run()
    except (RuntimeError, NotImplementedError, TypeError, ValueError, KeyError, IndexError):
        return None
    return float(counter.get_total_flops()) or None
