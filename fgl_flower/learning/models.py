"""Classifiers: a small ResNet for 32x32 images that trains fast on two cores, and the paper's ResNets for 224x224."""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import ResNetConfig, ResNetModel

from fgl_flower.config import ConfigError

__all__ = ["Classifier", "build_model"]

_STEM, _WIDTHS = 16, (32, 64)  # channels of the small ResNet's stem and stages
_GRID = 4  # its features keep the image's layout on 4x4 places
_DEPTHS = {"resnet-18": (2, 2, 2, 2), "resnet-34": (3, 4, 6, 3), "resnet-50": (3, 4, 6, 3)}


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


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 4, channels) if kind == "group" else nn.BatchNorm2d(channels)


class _Block(nn.Module):
    """Two 3x3 convolutions that halve the sides, with a shortcut that averages instead of skipping pixels.

    The second norm starts at zero, so a fresh block is its shortcut (Goyal et al., 2017): without it group norm hardly
    leaves the ground in 20 epochs on the built-in world.
    """

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.norm1 = _norm(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, outputs)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))
        nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class _SmallResNet(nn.Module):
    """A strided stem and two blocks: 16x16, 8x8 and 4x4 for 32x32 images.

    Made for two cores: the early stride makes 200 federated rounds affordable, and features that keep their place on a
    4x4 grid learn shapes fast.
    """

    width = _WIDTHS[-1] * _GRID**2

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, _STEM, 5, 2, 2, bias=False)
        self.norm = _norm(norm, _STEM)
        self.blocks = nn.Sequential(_Block(_STEM, _WIDTHS[0], norm), _Block(*_WIDTHS, norm))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)  # (N, 16, S/2, S/2)
        x = self.blocks(x)  # (N, 64, S/8, S/8)
        if x.shape[-1] != _GRID:
            x = F.adaptive_avg_pool2d(x, _GRID)
        return x.flatten(1)  # (N, 1024)


class _ResNet(nn.Module):
    """transformers' ResNet as a plain function from images to features."""

    def __init__(self, name: str, norm: str) -> None:
        super().__init__()
        deep = name == "resnet-50"
        widths = [256, 512, 1024, 2048] if deep else [64, 128, 256, 512]
        config = ResNetConfig(
            depths=list(_DEPTHS[name]), hidden_sizes=widths, layer_type="bottleneck" if deep else "basic"
        )
        self.net = ResNetModel(config)
        self.width = widths[-1]
        if norm == "group":
            _replace_batch_norm(self.net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).pooler_output.flatten(1)


def _replace_batch_norm(module: nn.Module) -> None:
    """Put GroupNorm of 32 groups (Wu & He, 2018) where BatchNorm stands: skewed clients' statistics do not average."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(32, child.num_features))
        else:
            _replace_batch_norm(child)


def build_model(name: str, num_classes: int, norm: str = "group", *, seed: int) -> Classifier:
    """Return a freshly initialised classifier; the same arguments always give the same weights.

    Parameters
    ----------
    name : {"small-resnet", "resnet-18", "resnet-34", "resnet-50"}
        Architecture. The small one is made for 32x32 images, the others for 224x224 (He et al., 2016).
    num_classes : int
        Classes, >= 1.
    norm : {"group", "batch"}
        Normalisation layers.
    seed : int
        Seed of the initialisation. The global random state is left as it was.

    Raises
    ------
    ConfigError
        If there is no such model or normalisation.
    """
    if norm not in {"group", "batch"}:
        raise ConfigError(f"norm = {norm!r} is unknown: use 'group' or 'batch'")
    if name != "small-resnet" and name not in _DEPTHS:
        raise ConfigError(f"model = {name!r} is unknown: use 'small-resnet', {', '.join(map(repr, _DEPTHS))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _SmallResNet(norm) if name == "small-resnet" else _ResNet(name, norm)
        model = Classifier(backbone, backbone.width, num_classes)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
