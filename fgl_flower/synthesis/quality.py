"""Whether drawn images are worth training on: finite numbers, and not all of one colour."""

from dataclasses import dataclass

import numpy as np
import torch

from fgl_flower.errors import RunError
from fgl_flower.synthesis.settings import SCHEDULERS, SamplingSettings

# Deviation of an image's pixels, in grey levels of 255, below which it shows nothing. Of the built-in world's images,
# thin lines on white included, none is below 14, and a single line across 512 pixels makes 11.
NEARLY_CONSTANT = 2.0

_IMAGES_AT_ONCE = 256
_GRID = 64  # positions a side that are looked at first


@dataclass(frozen=True)
class Drawn:
    """A drawn batch, on the device that may still be at work on it.

    Attributes
    ----------
    pixels : torch.Tensor
        (N, 3, S, S) uint8.
    finite : torch.Tensor
        (N,) bool: whether all numbers of an image were finite before they became bytes.
    blanked : tuple of int
        Positions of images that the generator's safety checker blanks, however often they are drawn again.
    redrawn : int
        Images that were drawn again for it.
    """

    pixels: torch.Tensor
    finite: torch.Tensor
    blanked: tuple[int, ...] = ()
    redrawn: int = 0


def check_finite(finite: torch.Tensor, settings: SamplingSettings) -> None:
    """Refuse a batch with images that are no numbers, (N,) bool; waits for the device.

    Raises
    ------
    RunError
        With what to change.
    """
    if bad := int((~finite).sum()):
        exact = settings.precision == "float32"
        precision = (
            "synthesis-precision is float32 already, so set" if exact else "set synthesis-precision = 'float32' or"
        )
        schedulers = ", ".join(name for name, kind in SCHEDULERS.items() if kind != settings.scheduler)
        raise RunError(
            f"{bad} of {len(finite)} images of a batch are not finite numbers, drawn by {settings.generator} in "
            f"{settings.precision} with {settings.scheduler} in {settings.steps} steps: the batch is not stored, what "
            f"was drawn before is kept; {precision} another scheduler ({schedulers})"
        )


def nearly_constant(pixels: torch.Tensor) -> torch.Tensor:
    """Return which images are black, white or of one colour, (N,) bool.

    Parameters
    ----------
    pixels : torch.Tensor
        (N, 3, S, S) uint8; may lie in a mapped file.
    """
    result = [is_nearly_constant(part.permute(0, 2, 3, 1).numpy()) for part in pixels.split(_IMAGES_AT_ONCE)]
    return torch.from_numpy(np.concatenate([np.empty(0, dtype=bool), *result]))


def is_nearly_constant(pixels: np.ndarray) -> np.ndarray:
    """Return whether each colour of an image deviates from its mean by less than `NEARLY_CONSTANT`.

    Parameters
    ----------
    pixels : np.ndarray
        (..., S, S, 3) uint8.

    Returns
    -------
    np.ndarray
        (...) bool.
    """
    step = max(1, pixels.shape[-2] // _GRID)
    flat = np.array(_flat(pixels[..., ::step, ::step, :]))  # a sixtieth of the work for images of 512 pixels
    if step > 1 and flat.any():  # a thin line may lie between
        flat[flat] = _flat(pixels[flat])
    return flat


def _flat(pixels: np.ndarray) -> np.ndarray:
    return pixels.std(axis=(-3, -2), dtype=np.float32).max(axis=-1) < NEARLY_CONSTANT
