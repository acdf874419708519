"""DP-SGD clips each image's gradient, adds the noise that it is told, and works on models whose images stay apart."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fgl_flower.learning import private_training
from fgl_flower.learning.building import build_model
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images
from fgl_flower.learning.private_training import gradient_fault, train_privately

CLIP, LR, BATCH = 0.5, 0.1, 7


class Plain:
    """Takes the place of `Augmenter`: the images as they are."""

    def __init__(self, pixels: torch.Tensor, seed: int, normalise: object) -> None:
        self.pixels = pixels

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        return self.pixels[index].float() / 255


def toy() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Flatten()), 72, 3)


def images(count: int) -> Images:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 3, 8, 8), generator=generator).to(torch.uint8)
    return Images(pixels, torch.arange(count) % 3, torch.zeros(count, dtype=torch.int64))


def train(model: Classifier, data: Images, noise: float, steps: int = 1, rate: float = 1.0) -> None:
    train_privately(model, data, steps=steps, rate=rate, noise=noise, clip=CLIP, batch_size=BATCH, lr=LR, device="cpu")


def flat(model: Classifier) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_step_is_the_sum_of_clipped_gradients_by_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "Augmenter", Plain)
    monkeypatch.setattr(private_training, "_AT_ONCE", 4)  # a batch in two pieces
    model, data = toy(), images(6)
    expected = torch.zeros_like(flat(model))
    for i in range(6):  # one image at a time, by plain autograd
        alone = copy.deepcopy(model)
        F.cross_entropy(alone(data.pixels[i : i + 1].float() / 255), data.labels[i : i + 1]).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in alone.parameters()])  # type: ignore[union-attr]
        expected += gradient * min(1.0, CLIP / float(gradient.norm()))
    before = flat(model)
    train(model, data, noise=0.0)
    torch.testing.assert_close((before - flat(model)) * BATCH / LR, expected, rtol=1e-3, atol=1e-4)
    assert expected.norm() <= 6 * CLIP


@pytest.mark.parametrize("count", [0, 6])
def test_the_noise_has_the_deviation_that_is_asked_for_with_images_and_without(count: int) -> None:
    model, noise = build_model("small-resnet", 10, "group", seed=0), 200.0
    before = flat(model)
    train(model, images(count), noise)
    moved = (flat(model) - before).double() * BATCH / LR / CLIP
    assert float(moved.std()) == pytest.approx(noise, rel=0.02)  # of 83,546 numbers
    assert abs(float(moved.mean())) < 5 * noise / len(moved) ** 0.5


def test_no_seed_reaches_noise_and_coins() -> None:
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)
        model = toy()
        train(model, images(6), noise=1.0, steps=2, rate=0.5)
        ends.append(flat(model))
    assert not torch.equal(*ends)


@pytest.mark.parametrize("name", ["small-resnet"])
def test_group_norm_keeps_images_apart_and_batch_norm_does_not(name: str) -> None:
    assert gradient_fault(build_model(name, 10, "group", seed=0), 32) == ""
    assert gradient_fault(build_model(name, 10, "batch", seed=0), 32) != ""


class Mixing(nn.Module):
    """Takes the mean of a batch away, in a way that PyTorch has gradients by image for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(dim=0, keepdim=True)).flatten(1)


def test_a_model_that_mixes_images_is_found_by_its_gradients() -> None:
    torch.manual_seed(0)
    model = Classifier(Mixing(), 3 * 8 * 8, 3)
    assert "depends on the others" in gradient_fault(model, 8)
