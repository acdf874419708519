"""What every classifier is, built-in or a user's own, and how one is built from a configuration."""

import torch
from torch import nn

from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import MODEL
from fgl_flower.learning.randomness import own_randomness

__all__ = ["Classifier", "build_model"]


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
    """

    def __init__(self, backbone: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, num_classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, F) features of normalised (N, 3, S, S) images."""
        return self.backbone(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, C) logits of normalised (N, 3, S, S) images."""
        return self.head(self.features(images))


def build_model(name: str, num_classes: int, norm: str = "group", *, seed: int) -> Classifier:
    """Return a freshly initialised classifier; the same arguments always give the same weights.

    Parameters
    ----------
    name : str
        A built-in name of the key `model`, or ``module:object``: a function (num_classes, norm) -> Classifier.
    num_classes : int
        Classes, >= 1.
    norm : {"group", "batch"}
        Normalisation layers.
    seed : int
        Seed of the initialisation. The global random state is left as it was.

    Raises
    ------
    ConfigError
        If there is no such model or normalisation, or a user's function returns no `Classifier`.
    """
    if norm not in {"group", "batch"}:
        raise ConfigError(f"norm = {norm!r} is unknown: use 'group' or 'batch'")
    build = MODEL.load(name)
    with own_randomness(seed):
        model = build(num_classes, norm)
    if not isinstance(model, Classifier):
        raise ConfigError(
            f"model = {name!r} returned a {type(model).__name__}, not a fgl_flower.learning.classifier.Classifier"
        )
    if model.head.out_features != num_classes:
        raise ConfigError(f"model = {name!r} has {model.head.out_features} outputs for {num_classes} classes")
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
