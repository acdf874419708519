"""Draw planned images with one pipeline.

Stable Diffusion pipelines run in a loop of our own: prompts are encoded once, every call has one shape, guidance is
left out beyond its interval for the whole batch, and nothing waits for the device. Every other diffusers pipeline is
called as its authors meant it to be. Each image's noise comes from a generator of its own, seeded by the plan.
"""

import copy
import inspect as python_inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgl_flower.errors import ModelError
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.quality import Drawn
from fgl_flower.synthesis.settings import SamplingSettings

PROMPTS_PER_CALL = 16
PROMPTS_IN_MEMORY = 2048
DECODED_PIXELS_PER_CALL = 16 * 512 * 512


class PromptCache:
    """Encoded prompts of one generator, read by all samplers that share it.

    Parameters
    ----------
    generator : Generator
    settings : SamplingSettings

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
        self.generator = generator
        self.settings = settings
        self.needed = fast_path(generator)
        self._encoded: dict[str, torch.Tensor] = {}

    def __getitem__(self, prompt: str) -> torch.Tensor:
        return self._encoded[prompt]  # (T, D)

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
        if not self.needed:
            if embeddings:
                raise ModelError(f"prompt embeddings need a StableDiffusionPipeline, not {self.settings.pipeline}")
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
        pipeline.text_encoder.to(device)
        for start in range(0, len(texts), PROMPTS_PER_CALL):
            chunk = texts[start : start + PROMPTS_PER_CALL]
            full = chunk + [""] * (PROMPTS_PER_CALL - len(chunk))  # one shape: other prompts do not move the last bit
            encoded, _ = pipeline.encode_prompt(full, device, 1, do_classifier_free_guidance=False)
            self._encoded.update((text, row.clone()) for text, row in zip(chunk, encoded, strict=False))
        if device.type != "cpu":
            pipeline.text_encoder.to("cpu")

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


class Sampler:
    """Draws images of one setting with one generator; not to be shared between threads.

    Parameters
    ----------
    prompts : PromptCache
        Holds the prompts of the images to draw.
    rows : int
        Images in every call of the denoiser; a shorter batch is filled up, a longer one is cut.
    """

    def __init__(self, prompts: PromptCache, rows: int) -> None:
        self.generator = prompts.generator
        self.settings = prompts.settings
        self.prompts = prompts
        self.rows = rows
        self.fast = fast_path(self.generator)
        pipeline = self.generator.pipeline
        if not self.fast:
            pipeline = _replica(pipeline)
            self._finite: torch.Tensor | None = None  # of the last call, before the pipeline clamped its images
            self._watch(pipeline)
        self.pipeline = pipeline
        self.scheduler_class = _scheduler_class(self.settings.scheduler, pipeline)

    @torch.inference_mode()
    def draw(self, images: Sequence[PlannedImage]) -> Drawn:
        """Draw images.

        Parameters
        ----------
        images : sequence of PlannedImage
            Their prompts have been encoded.

        Returns
        -------
        Drawn
            Images of S = ``settings.stored_size`` pixels a side; the device may still be at work.
        """
        with _fastest_attention(self.generator.device):
            parts = [self._draw(images[start : start + self.rows]) for start in range(0, len(images), self.rows)]
        return Drawn(torch.cat([part.pixels for part in parts]), torch.cat([part.finite for part in parts]))

    def _draw(self, images: Sequence[PlannedImage]) -> Drawn:
        full = [*images, *[images[-1]] * (self.rows - len(images))]
        noise = [torch.Generator().manual_seed(image.seed) for image in full]
        drawn = self._denoise(full, noise) if self.fast else self._call(full, noise)  # (B, 3, H, W) about [0, 1]
        finite = drawn.isfinite().flatten(1).all(1)  # (B,)
        if not self.fast and self._finite is not None:
            finite &= self._finite
        side = self.settings.stored_size
        if drawn.shape[-1] != side:
            drawn = F.interpolate(drawn.float(), (side, side), mode="bicubic", antialias=True)
        pixels = (drawn[: len(images)].float().clamp(0, 1) * 255).round().to(torch.uint8)
        return Drawn(pixels, finite[: len(images)])

    def _denoise(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> torch.Tensor:
        unet, device, settings = self.pipeline.unet, self.generator.device, self.settings
        scheduler = self.scheduler_class.from_config(self.pipeline.scheduler.config)  # holds the state of one call
        scheduler.set_timesteps(settings.steps)  # on the host: a step then never waits for the device
        extra = _accepted(scheduler.step, generator=noise)
        text = torch.stack([self.prompts[row.prompt] for row in rows])  # (B, T, D)
        side = settings.size // self.pipeline.vae_scale_factor
        shape = (1, unet.config.in_channels, side, side)
        latents = torch.cat([torch.randn(shape, generator=g) for g in noise])  # (B, C, h, w) float32 throughout
        latents = (latents * scheduler.init_noise_sigma).to(device, non_blocking=True)
        if settings.guided:
            null = self.prompts[settings.negative_prompt].expand_as(text)
            both = torch.cat([null, text])  # (2B, T, D)
        timesteps = scheduler.timesteps
        on_device = timesteps.to(device, non_blocking=True)
        first, last = settings.guidance_from * len(timesteps), settings.guidance_until * len(timesteps)
        for i, t in enumerate(timesteps):
            scaled = scheduler.scale_model_input(latents, t)
            if settings.guided and first <= i < last:
                without, conditioned = self._predict(torch.cat([scaled, scaled]), on_device[i], both).chunk(2)
                answer = without + settings.guidance * (conditioned - without)
            else:
                answer = self._predict(scaled, on_device[i], text)
            latents = scheduler.step(answer, t, latents, return_dict=False, **extra)[0]
        return self._decode(latents)

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        unet = self.pipeline.unet
        latents = latents.to(unet.dtype, memory_format=torch.channels_last)
        return unet(latents, timestep, encoder_hidden_states=text, return_dict=False)[0].float()

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self.pipeline.vae
        latents = (latents / vae.config.scaling_factor).to(vae.dtype, memory_format=torch.channels_last)
        rows = max(1, DECODED_PIXELS_PER_CALL // self.settings.size**2)  # needs more memory than the denoiser
        drawn = [vae.decode(part, return_dict=False)[0] for part in latents.split(rows)]
        return torch.cat(drawn) / 2 + 0.5

    def _watch(self, pipeline: Any) -> None:
        """Look at what the decoder gives before the pipeline clamps it, which turns infinite numbers into white."""
        processor = getattr(pipeline, "image_processor", None)
        if processor is None:
            return
        processor = copy.copy(processor)  # replicas share it, and each looks at its own images
        pipeline.image_processor = processor
        postprocess = processor.postprocess

        def watched(image: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            self._finite = image.isfinite().flatten(1).all(1)
            return postprocess(image, *arguments, **options)

        processor.postprocess = watched

    def _call(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> torch.Tensor:
        pipeline, settings = self.pipeline, self.settings
        pipeline.scheduler = self.scheduler_class.from_config(pipeline.scheduler.config)
        options: dict[str, Any] = {
            "num_inference_steps": settings.steps,
            "guidance_scale": settings.guidance,
            "height": settings.size,
            "width": settings.size,
        }
        if settings.negative_prompt:
            options["negative_prompt"] = [settings.negative_prompt] * len(rows)
        options = _accepted(pipeline.__call__, **options)
        return pipeline(prompt=[row.prompt for row in rows], generator=noise, output_type="pt", **options).images


def _replica(pipeline: Any) -> Any:
    """Return a pipeline for one thread: it shares the weights, and has its own copy of what changes while it draws."""
    replica = copy.copy(pipeline)  # not built anew: that would lose what its configuration says besides the components
    for name, part in pipeline.components.items():
        if part is not None and not _is_stateless(part):  # scheduler, tokenizers, processors
            setattr(replica, name, copy.deepcopy(part))
    return replica


def _is_stateless(part: Any) -> bool:
    """Return whether threads may share a component; autoencoders of videos keep features from frame to frame."""
    return isinstance(part, torch.nn.Module) and not hasattr(part, "clear_cache")


def fast_path(generator: Generator) -> bool:
    """Return whether a generator runs in our own loop; a distilled guidance input (LCM) leaves it to the pipeline."""
    pipeline = generator.pipeline
    return type(pipeline).__name__ == "StableDiffusionPipeline" and pipeline.unet.config.time_cond_proj_dim is None


def _fastest_attention(device: torch.device) -> AbstractContextManager[None]:
    """Prefer cuDNN's attention on Hopper and later, where it is ahead; leave the choice to torch elsewhere."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (9, 0):
        return nullcontext()
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(order, set_priority=True)


def _scheduler_class(name: str, pipeline: Any) -> Any:
    import diffusers

    if type(pipeline.scheduler).__name__ == name:
        return type(pipeline.scheduler)
    if not hasattr(diffusers, name):
        raise ModelError(f"diffusers has no scheduler {name!r}")
    return getattr(diffusers, name)


def _accepted(function: Any, **options: Any) -> dict[str, Any]:
    """Return the options that a function takes."""
    names = python_inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}
