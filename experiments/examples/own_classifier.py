"""A classifier of your own: a plain convolutional network.

    python -m experiments.examples.own_classifier

In a TOML: model = "experiments.examples.own_classifier:plain_network".
"""

from typing import Any

from torch import nn

from experiments import run
from fgl_flower import Classifier, Result, RunConfig

WIDTH = 64


def plain_network(num_classes: int, norm: str) -> Classifier:
    """Return a network of three convolutions; `norm` is "group" or "batch", as the configuration says.

    A `Classifier` is a backbone that turns (N, 3, S, S) images into (N, WIDTH) features, and a linear head.
    """

    def stage(inputs: int, outputs: int) -> list[nn.Module]:
        normal = nn.GroupNorm(4, outputs) if norm == "group" else nn.BatchNorm2d(outputs)
        return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), normal, nn.ReLU()]

    layers = [*stage(3, 16), *stage(16, 32), *stage(32, WIDTH), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Classifier(nn.Sequential(*layers), WIDTH, num_classes)


def main(**changes: Any) -> Result:
    """Train it on the synthetic images of one-shot FGL."""
    keys = {"model": "experiments.examples.own_classifier:plain_network"}
    return run(RunConfig(**{**keys, **changes}))


if __name__ == "__main__":
    print(f"test accuracy {main().accuracy:.3f}")
