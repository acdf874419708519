"""Prompts as a generator takes them: encoded once for all samplers, or left to the pipeline."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from fgl_flower.errors import ModelError
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.prompt_families import PooledShape, family_of
from fgl_flower.synthesis.settings import SamplingSettings

PROMPTS_PER_CALL = 16
PROMPTS_IN_MEMORY = 2048


class PromptCache:
    """Encoded prompts of one generator, read by all samplers that share it.

    Parameters
    ----------
    generator : Generator
    settings : SamplingSettings

    Attributes
    ----------
    shape : PooledShape or None
        Of embeddings for a pipeline that takes a pooled vector with them; None: it takes none.

    Raises
    ------
    ModelError
        If the settings were made for another generator: images would be filed under wrong keys.
    """

    def __init__(self, generator: Generator, settings: SamplingSettings) -> None:
        card = generator.card
        if (card.revision, generator.precision) != (settings.revision, settings.precision):
            raise ModelError(
                f"the plan was made for {settings.generator} {settings.revision} in {settings.precision}, "
                f"loaded is {card.id} {card.revision} in {generator.precision}"
            )
        if settings.safety_checker != (getattr(generator.pipeline, "safety_checker", None) is not None):
            raise ModelError(
                f"the plan was made for {card.id} {'with' if settings.safety_checker else 'without'} its safety checker"
            )
        if settings.speed != generator.speed:
            raise ModelError(f"the plan was made for {card.id} with {settings.speed}, loaded is {generator.speed}")
        self.generator = generator
        self.settings = settings
        self.needed = fast_path(generator)
        self.shape: PooledShape | None = None
        if (family := family_of(card)) and family.pooled:
            self.shape = family.shape(card, generator.pipeline.tokenizer.model_max_length)
        self._encoded: dict[str, torch.Tensor] = {}

    def __getitem__(self, prompt: str) -> torch.Tensor:
        return self._encoded[prompt]  # (T, D)

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._encoded

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, np.ndarray] | None = None) -> None:
        """Encode the prompts that are not yet encoded; the text encoder leaves the accelerator afterwards.

        Parameters
        ----------
        prompts : sequence of str
            At most `PROMPTS_IN_MEMORY` different ones.
        embeddings : mapping of str to np.ndarray, optional
            Prompts of these names are taken from the array, (tokens, width).

        Raises
        ------
        ModelError
            If the pipeline takes no embeddings or they are not of its shape.
        """
        embeddings = embeddings or {}
        if not self.needed:  # the pipeline encodes texts itself
            self._encoded = {p: self._checked_pooled(embeddings[p]) for p in dict.fromkeys(prompts) if p in embeddings}
            return
        wanted = dict.fromkeys([*prompts, *([self.settings.negative_prompt] if self.settings.guided else [])])
        if len(self._encoded) + len(wanted) > PROMPTS_IN_MEMORY:
            self._encoded = {p: self._encoded[p] for p in wanted if p in self._encoded}
        new = [p for p in wanted if p not in self._encoded]
        for name in (p for p in new if p in embeddings):
            self._encoded[name] = self._checked(embeddings[name])
        if texts := [p for p in new if p not in embeddings]:
            self._encode_texts(texts)

    def _encode_texts(self, texts: list[str]) -> None:
        pipeline, device = self.generator.pipeline, self.generator.device
        moves = not self.generator.offloaded  # else it comes and goes by itself
        if moves:
            pipeline.text_encoder.to(device)
        for start in range(0, len(texts), PROMPTS_PER_CALL):
            chunk = texts[start : start + PROMPTS_PER_CALL]
            full = chunk + [""] * (PROMPTS_PER_CALL - len(chunk))  # one shape: other prompts do not move the last bit
            encoded, _ = pipeline.encode_prompt(full, device, 1, do_classifier_free_guidance=False)
            self._encoded.update((text, row.clone()) for text, row in zip(chunk, encoded, strict=False))
        if moves and device.type != "cpu":
            pipeline.text_encoder.to("cpu")

    def _checked_pooled(self, embedding: np.ndarray) -> torch.Tensor:
        if self.shape is None:
            raise ModelError(
                f"the generator {self.settings.generator}, a {self.settings.pipeline}, takes no embeddings"
            )
        if embedding.shape != self.shape.packed:
            raise ModelError(
                f"a prompt embedding of shape {embedding.shape} does not fit {self.settings.generator}: "
                f"expected {self.shape.packed}, the pooled vector in the last row"
            )
        return torch.as_tensor(np.asarray(embedding, dtype=np.float32))

    def _checked(self, embedding: np.ndarray) -> torch.Tensor:
        unet = self.generator.pipeline.unet
        if embedding.ndim != 2 or embedding.shape[1] != unet.config.cross_attention_dim:
            raise ModelError(
                f"a prompt embedding of shape {embedding.shape} does not fit {self.settings.generator}: "
                f"expected (tokens, {unet.config.cross_attention_dim})"
            )
        tokens = self.generator.pipeline.tokenizer.model_max_length
        if len(embedding) != tokens:
            raise ModelError(
                f"a prompt embedding has {len(embedding)} tokens, {self.settings.generator} takes {tokens}"
            )
        return torch.as_tensor(np.asarray(embedding, dtype=np.float32)).to(self.generator.device, unet.dtype)


def fast_path(generator: Generator) -> bool:
    """Return whether a generator runs in our own loop; a distilled guidance input (LCM) leaves it to the pipeline."""
    pipeline = generator.pipeline
    return type(pipeline).__name__ == "StableDiffusionPipeline" and pipeline.unet.config.time_cond_proj_dim is None
