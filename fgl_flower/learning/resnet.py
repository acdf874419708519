"""The paper's classifiers for 224x224 images: ResNet-18, -34 and -50 (He et al., 2016), by transformers."""

import torch
from torch import nn
from transformers import ResNetConfig, ResNetModel

from fgl_flower.learning.classifier import Classifier

__all__ = ["resnet_18", "resnet_34", "resnet_50"]


def resnet_18(num_classes: int, norm: str) -> Classifier:
    """Return ResNet-18 with random weights; `norm` is "group" or "batch"."""
    return _resnet((2, 2, 2, 2), num_classes, norm)


def resnet_34(num_classes: int, norm: str) -> Classifier:
    """Return ResNet-34 with random weights; `norm` is "group" or "batch"."""
    return _resnet((3, 4, 6, 3), num_classes, norm)


def resnet_50(num_classes: int, norm: str) -> Classifier:
    """Return ResNet-50 with random weights; `norm` is "group" or "batch"."""
    return _resnet((3, 4, 6, 3), num_classes, norm, bottleneck=True)


def _resnet(depths: tuple[int, ...], num_classes: int, norm: str, bottleneck: bool = False) -> Classifier:
    backbone = _Backbone(depths, bottleneck)
    if norm == "group":
        _replace_batch_norm(backbone)
    return Classifier(backbone, backbone.width, num_classes)


class _Backbone(nn.Module):
    """transformers' ResNet as a plain function from images to features."""

    def __init__(self, depths: tuple[int, ...], bottleneck: bool) -> None:
        super().__init__()
        widths = [256, 512, 1024, 2048] if bottleneck else [64, 128, 256, 512]
        kind = "bottleneck" if bottleneck else "basic"
        self.net = ResNetModel(ResNetConfig(depths=list(depths), hidden_sizes=widths, layer_type=kind))
        self.width = widths[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).pooler_output.flatten(1)


def _replace_batch_norm(module: nn.Module) -> None:
    """Put GroupNorm of 32 groups (Wu & He, 2018) where BatchNorm stands: skewed clients' statistics do not average."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(32, child.num_features))
        else:
            _replace_batch_norm(child)
