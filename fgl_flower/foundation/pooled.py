"""Prompt embeddings of generators that attend to several text encoders and take a pooled vector besides.

Stable Diffusion XL (arXiv 2307.01952) and Stable Diffusion 3 (arXiv 2403.03206) need both. As one array they are
(tokens + 1, width): what the denoiser attends to, and in the last row the pooled vector, filled up with zeros.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F

from fgl_flower.errors import ModelError, reason
from fgl_flower.foundation.capabilities import SD3, XL
from fgl_flower.foundation.checkpoints import component_config, index_of, variant_of
from fgl_flower.foundation.generator import Generator, GeneratorCard, inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import PROMPTS_PER_CALL, TextEncoder, tokenizer_of

_T5_TOKENS = 256  # what Stable Diffusion 3's pipeline reads of a prompt by its third encoder


@dataclass(frozen=True)
class PooledShape:
    """Shape of a generator's prompt embedding.

    Attributes
    ----------
    tokens, width : int
        Of what the denoiser attends to.
    pooled : int
        Length of the pooled vector; 0: there is none.
    """

    tokens: int
    width: int
    pooled: int = 0

    @property
    def packed(self) -> tuple[int, int]:
        """Shape of the array that holds all of it."""
        return self.tokens + bool(self.pooled), self.width


def embedding_shape(model: str | Origin) -> PooledShape:
    """Return the shape of a generator's prompt embedding, from its configuration.

    Raises
    ------
    ModelError
        If its first text encoder is not of CLIP's kind; see `tokenizer_of`.
    """
    first, card = tokenizer_of(model), inspect(model)
    return pooled_shape(card, first.length) if card.pipeline in {XL, SD3} else PooledShape(first.length, first.width)


def pooled_shape(card: GeneratorCard, length: int) -> PooledShape:
    """Return the shape where there is a pooled vector; `length`: tokens of a prompt for the encoders of CLIP's kind."""
    encoders = [component_config(card.folders, name) for name in ("text_encoder", "text_encoder_2")]
    projections = [int(config.get("projection_dim", 0)) for config in encoders]
    if card.pipeline == XL:
        return PooledShape(length, sum(int(config.get("hidden_size", 0)) for config in encoders), projections[1])
    width = int(component_config(card.folders, "transformer").get("joint_attention_dim", 0))
    return PooledShape(length + _T5_TOKENS, width, sum(projections))


class PooledEncoder:
    """The frozen text encoders of such a generator, on the CPU in float32.

    Parameters
    ----------
    pipeline : diffusers.DiffusionPipeline
        May be without denoiser and autoencoder.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @classmethod
    def load(cls, model: str | Origin) -> Self:
        """Load the text encoders of a generator; see `inspect` for ids.

        Raises
        ------
        ModelError
            If weights are missing.
        """
        import diffusers

        card = inspect(model)
        if card.lora or card.file or card.base:  # these are parts of the whole
            return cls(Generator.load(model, device="cpu", precision="float32").pipeline)
        listed = index_of(card.folders)
        options: dict[str, Any] = {name: None for name in ("unet", "transformer", "vae") if name in listed}
        if variant := variant_of(card.folders):
            options["variant"] = variant
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # about spellings in other people's checkpoints
                pipeline = diffusers.DiffusionPipeline.from_pretrained(
                    card.folder, torch_dtype=torch.float32, local_files_only=True, **options
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot load the text encoders of {card.id!r}: {reason(error)}") from error
        return cls(pipeline)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the packed embeddings of at least one prompt, (N, tokens + 1, width) float32."""
        chunks = [list(texts[start : start + PROMPTS_PER_CALL]) for start in range(0, len(texts), PROMPTS_PER_CALL)]
        return torch.cat([self._encode(chunk) for chunk in chunks])

    def _encode(self, texts: list[str]) -> torch.Tensor:
        more = {"prompt_3": None} if type(self.pipeline).__name__ == SD3 else {}
        attended, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=texts, prompt_2=None, device=torch.device("cpu"), do_classifier_free_guidance=False, **more
        )
        return pack(attended, pooled)


def pack(attended: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """Return (N, T, D) and (N, P) as one array, (N, T + 1, D)."""
    row = F.pad(pooled, (0, attended.shape[-1] - pooled.shape[-1]))
    return torch.cat([attended, row[:, None]], dim=1)


def unpack(packed: torch.Tensor, shape: PooledShape) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the denoiser attends to, (N, T, D), and the pooled vectors, (N, P)."""
    return packed[:, :-1], packed[:, -1, : shape.pooled]


def prompt_encoder(origin: Origin) -> TextEncoder | PooledEncoder:
    """Return what encodes prompts for a generator as it takes them.

    Raises
    ------
    ModelError
        If there is none, or its weights are missing.
    """
    return PooledEncoder.load(origin) if inspect(origin).pipeline in {XL, SD3} else TextEncoder.load(origin)
