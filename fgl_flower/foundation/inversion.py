"""Textual inversion: teach a frozen generator a new word from images (Gal et al., arXiv 2208.01618).

Nothing of the generator changes. A word is a few vectors that stand where a word's embedding would, found by gradient
descent on the generator's own training loss over the images. Latents are computed once, and all words of a client are
learned together, each batch mixing their images.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from fgl_flower.foundation.encoders import PromptEncoder
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.objectives import latents_of, objective_of
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import text_folder

ENCODED_PIXELS_PER_CALL = 16 * 512 * 512
LATENTS_PER_STEP = 8 * 64 * 64  # positions whose activations are kept at once for the gradient
CHECK, CHECKED = 25, 256  # steps from one look at the loss to the next, and images that it is measured on
PATIENCE = 4
DECAY = 0.96  # of the running mean: 25 steps


def load_for_inversion(model: str | Origin, revision: str = "", device: str = "auto") -> Generator:
    """Return the generator whose training loss is to be descended, in float32.

    A few-step generator that builds on another checkpoint was distilled from it and has no such loss of its own: the
    other one is loaded, whose text encoder they share.
    """
    origin = Origin.of(model, revision)
    card = inspect(origin)
    distilled = card.base is not None and text_folder(card) == card.base
    learned_on = replace(origin, generator=str(card.base), revision="") if distilled else origin
    generator = Generator.load(learned_on, device=device, precision="float32")
    if hasattr(generator.pipeline, "unet"):
        generator.pipeline.unet.to(memory_format=torch.channels_last)  # a third faster on CPUs
    return generator


@torch.no_grad()
def encode_images(generator: Generator, pixels: torch.Tensor) -> torch.Tensor:
    """Return the generator's latents of images.

    Parameters
    ----------
    generator : Generator
        Of a family whose words can be learned.
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
        latents.append(latents_of(vae, images))
    return torch.cat(latents)


@dataclass(frozen=True)
class Inverted:
    """What textual inversion found.

    Attributes
    ----------
    vectors : dict of str to np.ndarray
        (vectors, width) float32 by token; the widths of several encoders side by side.
    steps : int
        Steps taken.
    loss : float
        On the batch that is looked at again and again, with these vectors.
    """

    vectors: dict[str, np.ndarray]
    steps: int
    loss: float


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
) -> Inverted:
    """Learn the vectors of tokens from images.

    Every `CHECK` steps a running mean of the vectors, steadier than those of any step, is measured on one batch of
    images, noise and time steps that stays the same. The best mean is kept, and learning ends when `PATIENCE` checks
    in a row found none that was better.

    Parameters
    ----------
    generator : Generator
        In float32, of a family whose words can be learned; its weights are not changed.
    latents : torch.Tensor
        (N, C, s, s), from `encode_images`.
    texts : sequence of str
        Prompt of each image, in which tokens of `initial` stand.
    initial : mapping of str to np.ndarray
        Vectors to start from by token, (vectors, width).
    steps, batch_size : int
        Steps of Adam at most, and images of each; the gradient of large images is summed over parts of a batch.
    lr : float
        Peak learning rate, falling to 0 as a cosine.
    seed : int
        Of batches, noise and time steps.
    progress : callable, optional
        Told step and loss.
    """
    device, objective = generator.device, objective_of(generator)
    encoder = PromptEncoder.of(generator)
    vectors = {t: torch.tensor(v, dtype=torch.float32, device=device).requires_grad_() for t, v in initial.items()}
    means = {token: vector.detach().clone() for token, vector in vectors.items()}
    optimiser = torch.optim.Adam(list(vectors.values()), lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = torch.Generator().manual_seed(seed)
    prompts = encoder.read(texts, {t: len(v) for t, v in vectors.items()})
    fitting = max(1, min(batch_size, LATENTS_PER_STEP // (latents.shape[-1] * latents.shape[-2])))

    def batch(size: int) -> list[torch.Tensor]:
        """Return images' numbers, noise, and how much of it."""
        chosen = torch.randint(len(latents), (size,), generator=rng)
        noise = torch.randn(size, *latents.shape[1:], generator=rng).to(device)
        return [chosen, noise, objective.times(size, rng).to(device)]

    def losses(drawn: Sequence[torch.Tensor], learned: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the summands of a batch's mean squared error, a part of the batch each."""
        for chosen, noise, times in zip(*(one.split(fitting) for one in drawn), strict=True):
            clean = latents[chosen.to(latents.device)].to(device)
            condition = encoder.condition([prompts[i] for i in chosen.tolist()], learned)
            yield objective.loss(clean, noise, times, condition) * (len(chosen) / len(drawn[0]))

    looked_at = batch(CHECKED)
    best, found, since = math.inf, means, 0
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss = 0.0
        for share in losses(batch(batch_size), vectors):
            share.backward()
            loss += share.item()
        optimiser.step()
        schedule.step()
        for token, vector in vectors.items():
            means[token] = means[token].lerp(vector.detach(), max(1 - DECAY, 1 / step))
        if progress:
            progress(step, loss)
        if step % CHECK == 0 or step == steps:
            with torch.no_grad():
                now = sum(share.item() for share in losses(looked_at, means))
            since += 1
            if now < best:
                best, found, since = now, dict(means), 0
            if since == PATIENCE:
                break
    return Inverted({token: vector.cpu().numpy() for token, vector in found.items()}, step, best)
