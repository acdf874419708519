"""Generators and captioners of a user's own: what ``module:object`` must be, and how it looks to the engine."""

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, Self

import torch
from PIL import Image

from fgl_flower.errors import ModelError
from fgl_flower.extension import ExtensionPoint


class OwnGenerator(Protocol):
    """What the key `generator` takes as ``module:object``: such an object, or a class that needs no arguments.

    Attributes
    ----------
    revision : str
        Part of every image's address in the store: another revision draws other images.
    size : int
        Side of the drawn images, in pixels.
    """

    revision: str
    size: int

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> torch.Tensor:
        """Return (N, 3, size, size) float images in [0, 1]; the same prompt and seed give the same image."""
        ...


class Describes(Protocol):
    """What captions images: a loaded `Captioner`, or a user's own.

    As ``module:object`` of the key `captioner` it has a `revision`, too: a str that stands in the result.
    """

    def describe(self, images: Sequence[Image.Image]) -> Sequence[str]:
        """Return a caption of each RGB image."""
        ...


def instance(point: ExtensionPoint, reference: str) -> Any:
    """Return the object of a reference; a class is called without arguments."""
    loaded = point.load(reference)
    return loaded() if inspect.isclass(loaded) else loaded


class OwnPipeline:
    """A user's generator where the engine expects a diffusers pipeline."""

    def __init__(self, own: OwnGenerator) -> None:
        self.components: dict[str, Any] = {}  # its author decides what threads share
        self.own = own
        self.scheduler = NoScheduler()

    def set_progress_bar_config(self, **options: object) -> None:
        """There is none."""

    def to(self, device: torch.device) -> Self:
        """Its author decides where it runs."""
        return self

    def __call__(self, prompt: Sequence[str], generator: Sequence[torch.Generator], output_type: str) -> Any:
        """Draw; each image's seed is that of its generator."""
        seeds = [one.initial_seed() for one in generator]
        images = torch.as_tensor(self.own.draw(list(prompt), seeds))
        wanted = (len(seeds), 3, self.own.size, self.own.size)
        if tuple(images.shape) != wanted or not images.is_floating_point():
            raise ModelError(f"draw returned {images.dtype} {tuple(images.shape)}, expected floats {wanted} in [0, 1]")
        return SimpleNamespace(images=images)


class NoScheduler:
    """Stands where diffusers keeps the state of its solver."""

    config: ClassVar[dict[str, object]] = {}

    @classmethod
    def from_config(cls, config: dict[str, object]) -> Self:
        """Return another one."""
        return cls()
