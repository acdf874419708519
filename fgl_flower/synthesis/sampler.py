"""Draw planned images with one pipeline.

Stable Diffusion pipelines run in a loop of our own: prompts are encoded once, every call has one shape, guidance is
left out beyond its interval for the whole batch, and nothing waits for the device. Every other diffusers pipeline is
called as its authors meant it to be. Each image's noise comes from a generator of its own, seeded by the plan.
"""

import copy
import inspect as python_inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from logging import INFO
from typing import Any

import torch
import torch.nn.functional as F
from flwr.supercore import log
from torch.nn.attention import SDPBackend, sdpa_kernel

from fgl_flower.errors import ModelError, RunError, reason
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.encoders import unpack
from fgl_flower.foundation.halves import is_combined, rebuilt
from fgl_flower.synthesis.plan import PlannedImage, with_another_seed
from fgl_flower.synthesis.prompt_cache import PromptCache, fast_path
from fgl_flower.synthesis.quality import Drawn
from fgl_flower.synthesis.settings import SamplingSettings

ATTEMPTS = 8  # to draw an image again that the safety checker blanks
DECODED_PIXELS_PER_CALL = 16 * 512 * 512


class Sampler:
    """Draws images of one setting with one generator; not to be shared between threads.

    Parameters
    ----------
    prompts : PromptCache
        Holds the prompts of the images to draw.
    rows : int
        Images in every call of the denoiser; a shorter batch is filled up, a longer one is cut. Halved whenever the
        device's memory does not hold them.
    """

    def __init__(self, prompts: PromptCache, rows: int) -> None:
        self.generator = prompts.generator
        self.settings = prompts.settings
        self.prompts = prompts
        self.rows = rows
        self.fast = fast_path(self.generator)
        self.scale = capabilities_of(self.generator.card).scale
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
            drawn = self._draw_all(images)
            for attempt in range(1, ATTEMPTS + 1):
                if not drawn.blanked:
                    break
                again = self._draw_all([with_another_seed(images[i], attempt) for i in drawn.blanked])
                drawn = _replaced(drawn, again)
        return drawn

    def _draw_all(self, images: Sequence[PlannedImage]) -> Drawn:
        if self.prompts.shape and (named := [i for i, image in enumerate(images) if image.prompt in self.prompts]):
            others = sorted(set(range(len(images))) - set(named))
            if others:  # the pipeline takes texts or embeddings in one call
                return _joined([(group, self._draw_all([images[i] for i in group])) for group in (named, others)])
        parts: list[tuple[int, Drawn]] = []
        start = 0
        while start < len(images):
            try:
                part = self._draw(images[start : start + self.rows])
            except torch.OutOfMemoryError as error:
                failed: str | None = reason(error)
            else:
                failed = None
                parts.append((start, part))
                start += len(part.pixels)
            if failed is not None:  # not while the error is handled, whose traceback holds on to the batch's tensors
                self._halve(failed)
        return Drawn(
            torch.cat([part.pixels for _, part in parts]),
            torch.cat([part.finite for _, part in parts]),
            tuple(start + i for start, part in parts for i in part.blanked),
        )

    def _halve(self, failed: str) -> None:
        """Draw half as many images in every later call, for want of memory."""
        if self.rows == 1:
            raise RunError(
                f"the memory of {self.generator.device} does not hold one image of {self.settings.size} pixels "
                f"({failed}): set offload = 'model' or 'sequential', vae-tiling = true, or a lower synthesis-precision"
            )
        self.rows //= 2
        if self.generator.device.type == "cuda":
            torch.cuda.empty_cache()
        log(INFO, "out of memory: %d images are drawn at once from now on", self.rows)

    def _draw(self, images: Sequence[PlannedImage]) -> Drawn:
        full = [*images, *[images[-1]] * (self.rows - len(images))]
        noise = [torch.Generator().manual_seed(image.seed) for image in full]
        drawn, blanked = self._denoise(full, noise) if self.fast else self._call(full, noise)  # (B, 3, H, W), in [0, 1]
        finite = drawn.isfinite().flatten(1).all(1)  # (B,)
        if not self.fast and self._finite is not None:
            finite &= self._finite
        side = self.settings.stored_size
        if drawn.shape[-1] != side:
            drawn = F.interpolate(drawn.float(), (side, side), mode="bicubic", antialias=True)
        pixels = (drawn[: len(images)].float().clamp(0, 1) * 255).round().to(torch.uint8)
        return Drawn(pixels, finite[: len(images)], tuple(i for i in range(len(images)) if blanked and blanked[i]))

    def _denoise(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> tuple[torch.Tensor, Sequence[bool]]:
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
        drawn = self._decode(latents)
        if self.generator.offloaded:
            self.pipeline.maybe_free_model_hooks()
        return drawn, self._blanked(drawn)

    def _blanked(self, drawn: torch.Tensor) -> Sequence[bool]:
        """Return which images the safety checker would blacken, as the pipeline asks it; none without one."""
        if not self.settings.safety_checker:
            return ()
        pipeline = self.pipeline
        _, blanked = pipeline.run_safety_checker(2 * drawn.float() - 1, self.generator.device, pipeline.unet.dtype)
        return blanked

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

    def _prompts(self, rows: list[PlannedImage]) -> dict[str, Any]:
        """Return what the pipeline's call takes for the prompts: texts, or embeddings with their pooled vectors."""
        if self.prompts.shape is None or rows[0].prompt not in self.prompts:
            return {"prompt": [row.prompt for row in rows]}
        packed = torch.stack([self.prompts[row.prompt] for row in rows])  # (B, T + 1, D)
        attended, pooled = unpack(
            packed.to(self.generator.device, getattr(torch, self.generator.precision)), self.prompts.shape
        )
        return {"prompt_embeds": attended, "pooled_prompt_embeds": pooled}

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

    def _call(self, rows: list[PlannedImage], noise: list[torch.Generator]) -> tuple[torch.Tensor, Sequence[bool]]:
        pipeline, settings = self.pipeline, self.settings
        scheduler = self.scheduler_class.from_config(pipeline.scheduler.config)
        if is_combined(pipeline):
            pipeline = rebuilt(pipeline, scheduler=scheduler)
            if settings.negative_prompt:  # the prior makes image embeddings of it, too, after the others
                noise = [*noise, *(torch.Generator().manual_seed(row.seed) for row in rows)]
        else:
            pipeline.scheduler = scheduler
        options = options_of_call(pipeline, settings, len(rows), self.scale)
        output = pipeline(**self._prompts(rows), generator=noise, output_type="pt", **options)
        blanked = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
        drawn = output.images / 2 + 0.5 if is_combined(pipeline) else output.images  # theirs are as they were decoded
        return drawn, blanked or ()


def options_of_call(pipeline: Any, settings: SamplingSettings, rows: int, scale: str) -> dict[str, Any]:
    """Return what a pipeline's call takes of some settings; `scale` as in `Capabilities`."""
    options: dict[str, Any] = {
        "num_inference_steps": settings.steps,
        scale: settings.guidance,
        "height": settings.size,
        "width": settings.size,
        "use_resolution_binning": False,  # draws the size asked for, also where the pipeline has no table for it
    }
    if settings.prompt_tokens:
        options["max_sequence_length"] = settings.prompt_tokens
    if settings.steps != 2:
        options["intermediate_timesteps"] = None  # SANA-Sprint's second of two steps
    if settings.negative_prompt or (settings.guided and scale == "true_cfg_scale"):
        options["negative_prompt"] = [settings.negative_prompt or " "] * rows
    return _accepted(pipeline.__call__, **options)


def _joined(groups: Sequence[tuple[list[int], Drawn]]) -> Drawn:
    """Return batches as one, given the position of each image."""
    order = torch.tensor([i for positions, _ in groups for i in positions]).argsort()
    return Drawn(
        torch.cat([drawn.pixels for _, drawn in groups])[order],
        torch.cat([drawn.finite for _, drawn in groups])[order],
        tuple(sorted(positions[i] for positions, drawn in groups for i in drawn.blanked)),
    )


def _replaced(drawn: Drawn, again: Drawn) -> Drawn:
    """Return a batch with those images in place of the ones that were blanked."""
    places = list(drawn.blanked)
    drawn.pixels[places], drawn.finite[places] = again.pixels, again.finite
    left = tuple(places[i] for i in again.blanked)
    return Drawn(drawn.pixels, drawn.finite, left, drawn.redrawn + len(places))


def _replica(pipeline: Any) -> Any:
    """Return a pipeline for one thread: it shares the weights, and has its own copy of what changes while it draws."""
    stateful = {n: part for n, part in pipeline.components.items() if part is not None and not _is_stateless(part)}
    own = {name: copy.deepcopy(part) for name, part in stateful.items()}  # scheduler, tokenizers, processors
    if is_combined(pipeline):
        return rebuilt(pipeline, **own)
    replica = copy.copy(pipeline)  # not built anew: that would lose what its configuration says besides the components
    for name, part in own.items():
        setattr(replica, name, part)
    return replica


def _is_stateless(part: Any) -> bool:
    """Return whether threads may share a component; autoencoders of videos keep features from frame to frame."""
    return isinstance(part, torch.nn.Module) and not hasattr(part, "clear_cache")


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
