"""Draw a batch of planned images with one pipeline.

Stable Diffusion pipelines run in a loop of our own: prompts are encoded once, batches have one fixed shape, guidance is
switched off outside its interval without touching the other rows of the batch, and nothing waits for the device.
Every other diffusers pipeline is called as its authors meant it to be. Each image's noise comes from a generator of its
own, seeded by the plan, so it does not matter which images share a batch.
"""

import inspect as python_inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fgl_flower.errors import ModelError
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.plan import PlannedImage, SamplingSettings

PROMPTS_PER_CALL = 64
DECODED_PIXELS_PER_CALL = 16 * 512 * 512


class Sampler:
    """Draws images of one setting with one generator; not safe to share between threads.

    Parameters
    ----------
    generator : Generator
    settings : SamplingSettings
    batch_size : int
        Rows of every call of the denoiser; shorter batches are filled up.
    """

    def __init__(self, generator: Generator, settings: SamplingSettings, batch_size: int) -> None:
        self.generator = generator
        self.settings = settings
        self.batch_size = batch_size
        pipeline = generator.pipeline
        self.fast = (
            type(pipeline).__name__ == "StableDiffusionPipeline" and pipeline.unet.config.time_cond_proj_dim is None
        )
        if not self.fast and (settings.guidance_from, settings.guidance_until) != (0.0, 1.0):
            raise ModelError(f"a guidance interval needs a StableDiffusionPipeline, not {type(pipeline).__name__}")
        self.scheduler_class = _scheduler_class(settings.scheduler, pipeline)
        self._embeddings: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, np.ndarray] | None = None) -> None:
        """Encode prompts for the calls of `draw` that follow, and forget earlier ones.

        Parameters
        ----------
        prompts : sequence of str
            Without repetitions.
        embeddings : mapping of str to np.ndarray, optional
            Prompts of these names are taken from the array, (tokens, width).
        """
        self._embeddings = {}
        if not self.fast:
            if embeddings:
                raise ModelError(f"prompt embeddings need a StableDiffusionPipeline, not {self.settings.pipeline}")
            return
        embeddings = embeddings or {}
        texts = [p for p in prompts if p not in embeddings]
        if self.settings.guided and self.settings.negative_prompt not in texts:
            texts.append(self.settings.negative_prompt)
        pipeline = self.generator.pipeline
        for start in range(0, len(texts), PROMPTS_PER_CALL):
            chunk = texts[start : start + PROMPTS_PER_CALL]
            padded = chunk + [""] * (
                PROMPTS_PER_CALL - len(chunk)
            )  # one shape: the same numbers whatever else is asked
            encoded, _ = pipeline.encode_prompt(padded, self.generator.device, 1, do_classifier_free_guidance=False)
            self._embeddings.update(zip(chunk, encoded, strict=False))
        for name in prompts:
            if name in embeddings:
                array = torch.as_tensor(np.asarray(embeddings[name], dtype=np.float32))
                self._embeddings[name] = array.to(self.generator.device, pipeline.unet.dtype)

    @torch.inference_mode()
    def draw(self, images: Sequence[PlannedImage]) -> torch.Tensor:
        """Draw up to `batch_size` images.

        Returns
        -------
        torch.Tensor
            (len(images), 3, S, S) uint8 on the device, S = ``settings.stored_size``; the device may still be at work.
        """
        rows = list(images) + [images[-1]] * (self.batch_size - len(images))
        noise = [torch.Generator().manual_seed(image.seed) for image in rows]
        drawn = self._denoise(rows, noise) if self.fast else self._call(rows, noise)  # (B, 3, H, W) in [0, 1]
        side = self.settings.stored_size
        if drawn.shape[-1] != side:
            drawn = F.interpolate(drawn.float(), (side, side), mode="bicubic", antialias=True)
        return (drawn[: len(images)].float().clamp(0, 1) * 255).round().to(torch.uint8)

    def _denoise(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> torch.Tensor:
        unet, device = self.generator.pipeline.unet, self.generator.device
        scheduler = self.scheduler_class.from_config(self.generator.pipeline.scheduler.config)  # state of one call
        scheduler.set_timesteps(self.settings.steps)  # kept on the host: a step then never waits for the device
        extra = _accepted(scheduler.step, generator=noise)
        text = torch.stack([self._embeddings[row.prompt] for row in rows])  # (B, T, D)
        side = self.settings.size // self.generator.pipeline.vae_scale_factor
        shape = (1, unet.config.in_channels, side, side)
        latents = torch.cat([torch.randn(shape, generator=g) for g in noise])  # (B, C, h, w)
        latents = (latents * scheduler.init_noise_sigma).to(device, unet.dtype, non_blocking=True)
        if self.settings.guided:
            null = self._embeddings[self.settings.negative_prompt].expand_as(text)
            both = torch.cat([null, text])  # (2B, T, D)
        timesteps = scheduler.timesteps
        on_device = timesteps.to(device, non_blocking=True)
        first, last = self.settings.guidance_from * len(timesteps), self.settings.guidance_until * len(timesteps)
        for i, t in enumerate(timesteps):
            scaled = scheduler.scale_model_input(latents, t)
            if self.settings.guided and first <= i < last:
                answer = self._predict(torch.cat([scaled, scaled]), on_device[i], both)
                without, conditioned = answer.chunk(2)
                answer = without + self.settings.guidance * (conditioned - without)
            else:
                answer = self._predict(scaled, on_device[i], text)
            latents = scheduler.step(answer, t, latents, return_dict=False, **extra)[0].to(unet.dtype)
        return self._decode(latents)

    def _predict(self, latents: torch.Tensor, timestep: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.generator.pipeline.unet(latents, timestep, encoder_hidden_states=text, return_dict=False)[0]

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self.generator.pipeline.vae
        latents = latents / vae.config.scaling_factor
        rows = max(
            1, DECODED_PIXELS_PER_CALL // self.settings.size**2
        )  # the decoder needs more memory than the denoiser
        drawn = [vae.decode(part, return_dict=False)[0] for part in latents.split(rows)]
        return torch.cat(drawn) / 2 + 0.5

    def _call(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> torch.Tensor:
        pipeline = self.generator.pipeline
        pipeline.scheduler = self.scheduler_class.from_config(pipeline.scheduler.config)
        options: dict[str, Any] = {
            "num_inference_steps": self.settings.steps,
            "guidance_scale": self.settings.guidance,
            "height": self.settings.size,
            "width": self.settings.size,
        }
        if self.settings.negative_prompt:
            options["negative_prompt"] = [self.settings.negative_prompt] * len(rows)
        options = _accepted(pipeline.__call__, **options)
        return pipeline(prompt=[row.prompt for row in rows], generator=noise, output_type="pt", **options).images


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
