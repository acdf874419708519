"""Textual inversion: teach a frozen generator a new word from images (Gal et al., arXiv 2208.01618).

Nothing of the generator changes. A word is a few vectors that stand where a word's embedding would, found by gradient
descent on the generator's own training loss over the images. Latents are computed once, and all words of a client are
learned together, each batch mixing their images.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.text import TextEncoder, text_folder

ENCODED_PIXELS_PER_CALL = 16 * 512 * 512
LATENTS_PER_STEP = 8 * 64 * 64  # positions whose activations are kept at once for the gradient


def load_for_inversion(model_id: str, revision: str = "", device: str = "auto") -> Generator:
    """Return the generator whose training loss is to be descended, in float32.

    A few-step generator that builds on another checkpoint was distilled from it and has no such loss of its own: the
    other one is loaded, whose text encoder they share.
    """
    card = inspect(model_id, revision)
    distilled = card.base is not None and text_folder(card) == card.base
    generator = Generator.load(str(card.base) if distilled else model_id, revision, device, "float32")
    if hasattr(generator.pipeline, "unet"):
        generator.pipeline.unet.to(memory_format=torch.channels_last)  # a third faster on CPUs
    return generator


@torch.no_grad()
def encode_images(generator: Generator, pixels: torch.Tensor) -> torch.Tensor:
    """Return the generator's latents of images.

    Parameters
    ----------
    generator : Generator
        A Stable Diffusion pipeline.
    pixels : torch.Tensor
        (N, 3, S, S) uint8; brought to the generator's size.

    Returns
    -------
    torch.Tensor
        (N, C, s, s) float32 on the generator's device.
    """
    vae, size = generator.pipeline.vae, generator.card.size
    latents = []
    for part in pixels.split(max(1, ENCODED_PIXELS_PER_CALL // size**2)):  # activations take memory by the pixel
        images = part.to(generator.device, torch.float32) / 127.5 - 1
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
        latents.append(vae.encode(images).latent_dist.mean * vae.config.scaling_factor)
    return torch.cat(latents)


def invert(
    generator: Generator,
    latents: torch.Tensor,
    texts: Sequence[str],
    initial: Mapping[str, np.ndarray],
    *,
    steps: int,
    batch_size: int = 32,
    lr: float = 0.02,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, np.ndarray]:
    """Learn the vectors of tokens from images.

    Parameters
    ----------
    generator : Generator
        A Stable Diffusion pipeline in float32; its weights are not changed.
    latents : torch.Tensor
        (N, C, s, s), from `encode_images`.
    texts : sequence of str
        Prompt of each image, in which tokens of `initial` stand.
    initial : mapping of str to np.ndarray
        Vectors to start from by token, (vectors, width).
    steps, batch_size : int
        Steps of Adam, and images of each; the gradient of large images is summed over parts of a batch.
    lr : float
        Peak learning rate, falling to 0 as a cosine.
    seed : int
        Of batches, noise and time steps.
    progress : callable, optional
        Told step and loss.

    Returns
    -------
    dict of str to np.ndarray
        (vectors, width) float32 by token: the mean over the last half of the steps, steadier than the last step.
    """
    from diffusers import DDPMScheduler

    pipeline, device = generator.pipeline, generator.device
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    encoder = TextEncoder.of(generator)
    vectors = {t: torch.tensor(v, dtype=torch.float32, device=device).requires_grad_() for t, v in initial.items()}
    averages = {token: torch.zeros_like(v) for token, v in vectors.items()}
    optimiser = torch.optim.Adam(list(vectors.values()), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = torch.Generator().manual_seed(seed)
    rows = [encoder.tokenizer.ids(text, {t: len(v) for t, v in vectors.items()}) for text in texts]
    fitting = max(1, min(batch_size, LATENTS_PER_STEP // (latents.shape[-1] * latents.shape[-2])))
    for step in range(steps):
        chosen = torch.randint(len(latents), (batch_size,), generator=rng)
        clean = latents[chosen.to(latents.device)]
        noise = torch.randn(clean.shape, generator=rng).to(device)
        times = torch.randint(noising.config.num_train_timesteps, (batch_size,), generator=rng).to(device)
        noisy = noising.add_noise(clean, noise, times)
        velocity = noising.config.prediction_type == "v_prediction"
        target = noising.get_velocity(clean, noise, times) if velocity else noise
        optimiser.zero_grad()
        loss = 0.0
        for start in range(0, batch_size, fitting):
            part = slice(start, start + fitting)
            images = chosen[part].tolist()
            ids = torch.tensor([rows[i][0] for i in images], device=device)
            where = [(row, place, *v) for row, i in enumerate(images) for place, v in rows[i][1].items()]
            answer = pipeline.unet(noisy[part], times[part], encoder_hidden_states=encoder(ids, where, vectors)).sample
            share = F.mse_loss(answer, target[part]) * (len(images) / batch_size)
            share.backward()
            loss += share.item()
        optimiser.step()
        schedule.step()
        if step >= steps // 2:
            for token, vector in vectors.items():
                averages[token] += vector.detach()
        if progress:
            progress(step + 1, loss)
    return {token: (total / (steps - steps // 2)).cpu().numpy() for token, total in averages.items()}
