"""What every classifier is, built-in, pretrained or a user's own."""

import copy
from collections.abc import Iterable
from typing import Self

import torch
from torch import nn

from fgl_flower.learning import images

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """A backbone that turns images into features, and a linear head.

    Regularisers that look at the representation (MOON) call `features` and `head` themselves.

    Parameters
    ----------
    backbone : torch.nn.Module
        (N, 3, S, S) float -> (N, F) float.
    width : int
        F, the number of features.
    num_classes : int
        C, the number of classes.

    Attributes
    ----------
    fixed : frozenset of str
        Names in the state dict that no training changes. They are equal wherever the model is built, so they do not
        travel (`fgl_flower.wire.arrays`), and copies share them.
    """

    fixed: frozenset[str] = frozenset()
    _held: tuple[nn.Module, ...] = ()  # torch counts no modules in a tuple as parts of this one

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, num_classes)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the backbone takes in: (N, 3, S, S) float32, channels last, from (N, 3, S, S) in 0..255."""
        return images.normalise(pixels)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, F) features of normalised (N, 3, S, S) images."""
        return self.backbone(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, C) logits of normalised (N, 3, S, S) images."""
        return self.head(self.features(images))

    def fix(self, held: Iterable[nn.Module]) -> None:
        """Declare all that needs no gradient fixed, and the buffers with it.

        Parameters
        ----------
        held : iterable of torch.nn.Module
            Modules that stay in evaluation mode while the rest is trained: their statistics and dropout rest.
        """
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        self.fixed = frozenset(self.state_dict()) - trained
        self._held = tuple(held)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but for what is held in evaluation mode."""
        super().train(mode)
        for module in self._held:
            module.eval()
        return self

    def copy(self) -> Self:
        """Return a copy that shares what is fixed with this model, and nothing else."""
        state = self.state_dict(keep_vars=True)
        return copy.deepcopy(self, {id(state[name]): state[name] for name in self.fixed})
