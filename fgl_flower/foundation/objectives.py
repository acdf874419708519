"""The loss that a generator's denoiser was trained with: what textual inversion descends.

Stable Diffusion and Stable Diffusion XL tell the noise, or the velocity (Salimans & Ho, arXiv 2202.00512), at a step of
a noise schedule. Stable Diffusion 3 is a rectified flow: at `(1 - sigma) * image + sigma * noise` it tells the
velocity, `noise - image`, and sigma is logit-normal (Esser et al., arXiv 2403.03206, section 3.1).
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from fgl_flower.errors import ModelError
from fgl_flower.foundation.encoders import Condition
from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.prompt_families import PLAIN, SD3, XL


class Objective(Protocol):
    """A loss of a denoiser on noisy latents."""

    def times(self, size: int, rng: torch.Generator) -> torch.Tensor:
        """Draw how noisy `size` images are to be, (N,)."""
        ...

    def loss(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the mean squared error on (N, C, s, s) latents; differentiable in the condition."""
        ...


def objective_of(generator: Generator) -> Objective:
    """Return the loss of a generator's family.

    Raises
    ------
    ModelError
        If it is not known here.
    """
    kind = _OBJECTIVES.get(generator.card.pipeline)
    if kind is None:
        raise ModelError(f"the training loss of {generator.card.id!r}, a {generator.card.pipeline}, is not known here")
    return kind(generator)


class NoiseObjective:
    """The mean squared error of a UNet on a noise schedule."""

    def __init__(self, generator: Generator) -> None:
        from diffusers import DDPMScheduler

        self.unet = generator.pipeline.unet
        self.noising = DDPMScheduler.from_config(generator.pipeline.scheduler.config)

    def times(self, size: int, rng: torch.Generator) -> torch.Tensor:
        """Draw steps of the schedule, (N,) int64."""
        return torch.randint(self.noising.config.num_train_timesteps, (size,), generator=rng)

    def loss(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the mean squared error in the noise or in the velocity."""
        velocity = self.noising.config.prediction_type == "v_prediction"
        target = self.noising.get_velocity(clean, noise, times) if velocity else noise
        noisy = self.noising.add_noise(clean, noise, times)
        more = self.conditions(condition)
        return F.mse_loss(self.unet(noisy, times, encoder_hidden_states=condition.attended, **more).sample, target)

    def conditions(self, condition: Condition) -> dict[str, Any]:
        """Return what the UNet takes besides the text that it attends to."""
        return {}


class XLObjective(NoiseObjective):
    """The same with the pooled vector, and with sizes: the images are whole and as large as the generator draws."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        size = generator.card.size
        self.time_ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32, device=generator.device)

    def conditions(self, condition: Condition) -> dict[str, Any]:
        """Return the pooled vectors, and (height, width, top, left, height, width) of the images."""
        time_ids = self.time_ids.expand(len(condition.attended), -1)
        return {"added_cond_kwargs": {"text_embeds": condition.pooled, "time_ids": time_ids}}


class FlowObjective:
    """The mean squared error in the velocity of a rectified flow."""

    def __init__(self, generator: Generator) -> None:
        scheduler = generator.pipeline.scheduler.config
        self.transformer = generator.pipeline.transformer
        self.steps = scheduler.num_train_timesteps
        self.shift = float(scheduler.get("shift") or 1.0)  # more noise for larger images, as they are drawn

    def times(self, size: int, rng: torch.Generator) -> torch.Tensor:
        """Draw sigmas, (N,) in (0, 1): the logit is normal, and shifted as the scheduler's are."""
        sigma = torch.randn(size, generator=rng).sigmoid()
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def loss(self, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Return the mean squared error in the velocity."""
        sigma = times[:, None, None, None]
        velocity = self.transformer(
            hidden_states=(1 - sigma) * clean + sigma * noise,
            timestep=times * self.steps,
            encoder_hidden_states=condition.attended,
            pooled_projections=condition.pooled,
        ).sample
        return F.mse_loss(velocity, noise - clean)


_OBJECTIVES: Mapping[str, type[NoiseObjective] | type[FlowObjective]] = {
    PLAIN: NoiseObjective,
    XL: XLObjective,
    SD3: FlowObjective,
}


def latents_of(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Return latents as the denoiser takes them, (N, C, s, s); images: (N, 3, S, S) in [-1, 1]."""
    latents, config = vae.encode(images).latent_dist.mean, vae.config
    if getattr(config, "latents_mean", None) and getattr(config, "latents_std", None):
        both = (config.latents_mean, config.latents_std)
        mean, std = (torch.tensor(one, device=latents.device).view(1, -1, 1, 1) for one in both)
        return (latents - mean) * config.scaling_factor / std
    return (latents - (getattr(config, "shift_factor", None) or 0.0)) * config.scaling_factor
