"""DP-SGD (Abadi et al., arXiv 1607.00133): a client's training that says hardly anything of any one image.

A step draws each image by a coin of its own (Poisson sampling), scales the gradient of each down to a norm of `clip` at
most, adds Gaussian noise of standard deviation `noise * clip` to the sum, and divides it by a number that does not
depend on the images. Gradients by image and their clipping are Opacus' (Yousefpour et al., arXiv 2109.12298), by
PyTorch's expanded weights, which take no channels last: on two cores a step of the small ResNet takes as long as by
Opacus' hooks or less, and rectifiers that write in place need no change. Noise and coins are the operating system's.
"""

import secrets
import warnings
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fgl_flower.device import resolve_device
from fgl_flower.errors import ConfigError
from fgl_flower.learning.augment import Augmenter
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images
from fgl_flower.privacy.noise import gaussian, sampled

__all__ = ["gradient_fault", "train_privately"]

_AT_ONCE = 128  # images whose gradients are in memory at a time, whatever the batch
_CLOSE = 1e-3  # relative difference of equal gradients in float32


def train_privately(
    model: Classifier,
    images: Images,
    *,
    steps: int,
    rate: float,
    noise: float,
    clip: float,
    batch_size: int,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    device: str = "auto",
) -> None:
    """Train a classifier in place; each step is one release, also of no images at all.

    Parameters
    ----------
    model : Classifier
        Moved to the device, and left there in evaluation mode.
    images : Images
        May be none: then the model only gets the noise, as otherwise it would tell that there are none.
    steps : int
        >= 1.
    rate : float
        Probability with which an image takes part in a step, 0 < rate <= 1.
    noise : float
        Standard deviation of the noise, in units of `clip`.
    clip : float
        Norm of an image's gradient at most, > 0.
    batch_size : int
        By what a step divides the sum of gradients.
    lr, momentum, weight_decay : float
        Of SGD.
    device : str
        See `resolve_device`.
    """
    target = resolve_device(device)
    model.to(target, memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(trained, lr=lr, momentum=momentum, weight_decay=weight_decay)
    by_image, optimiser = _wrapped(model, sgd, noise, clip)
    labels = images.labels.to(target)
    augment = Augmenter(images.pixels.to(target), secrets.randbits(62), model.normalise) if len(images) else None
    for _ in range(steps):
        drawn = torch.from_numpy(sampled(len(images), rate))
        for parameter in trained:
            parameter.summed_grad = torch.zeros_like(parameter)  # type: ignore[attr-defined]
        for index in drawn.split(_AT_ONCE) if len(drawn) else ():
            assert augment is not None  # of no images none is drawn
            F.cross_entropy(by_image(augment(index).contiguous()), labels[index.to(target)], reduction="sum").backward()
            optimiser.clip_and_accumulate()
            for parameter in trained:
                parameter.grad_sample = None  # type: ignore[attr-defined]
        _add_noise(trained, noise * clip)
        for parameter in trained:
            assert parameter.grad is not None
            parameter.grad /= batch_size
        sgd.step()
        sgd.zero_grad()
    for parameter in trained:
        del parameter.summed_grad  # type: ignore[attr-defined]
    model.eval()


def _wrapped(model: Classifier, sgd: torch.optim.SGD, noise: float, clip: float) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Opacus' own imports
            from opacus.grad_sample.utils import wrap_model
            from opacus.optimizers import DPOptimizer
    except ImportError:
        raise ConfigError("dp-epsilon needs an extra: pip install 'fgl-flower[privacy]'") from None
    optimiser = DPOptimizer(
        sgd, noise_multiplier=noise, max_grad_norm=clip, expected_batch_size=None, loss_reduction="sum"
    )
    return wrap_model(model, grad_sample_mode="ew", loss_reduction="sum"), optimiser


def _add_noise(trained: list[torch.nn.Parameter], deviation: float) -> None:
    """Make each parameter's gradient of the sum of clipped ones, and noise: added in float64, rounded once."""
    sizes = [parameter.numel() for parameter in trained]
    for parameter, part in zip(trained, np.split(gaussian(sum(sizes), deviation), np.cumsum(sizes)[:-1]), strict=True):
        more = torch.from_numpy(part).reshape(parameter.shape)
        clipped: torch.Tensor = parameter.summed_grad  # type: ignore[attr-defined]
        parameter.grad = (clipped.cpu().double() + more).to(clipped)


def gradient_fault(model: Classifier, size: int) -> str:
    """Return why a classifier cannot be trained so, or "": the gradient of an image must not depend on the others.

    Of three made images, gradients by image are compared with those of each image alone.

    Parameters
    ----------
    model : Classifier
        Its gradients are thrown away.
    size : int
        Side of the images, in pixels.
    """
    model.to(memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]
    if any(isinstance(module, torch.nn.Dropout) and module.p and module.training for module in model.modules()):
        return "it has dropout, which PyTorch draws alike for all images of a batch"
    noise = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    batch, labels = model.normalise(255 * noise).contiguous(), torch.arange(3) % model.head.out_features
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sgd = torch.optim.SGD(trained.values(), lr=0.1)
    try:
        by_image, _ = _wrapped(model, sgd, 1.0, 1.0)
        F.cross_entropy(by_image(batch), labels, reduction="sum").backward()
        together = {name: parameter.grad_sample for name, parameter in trained.items()}  # type: ignore[attr-defined]
        for i in range(len(batch)):
            sgd.zero_grad()
            F.cross_entropy(model(batch[i : i + 1]), labels[i : i + 1]).backward()
            for name, parameter in trained.items():
                if parameter.grad is None or together[name] is None:
                    return f"{name} gets no gradient"
                if not _equal(together[name][i], parameter.grad):
                    return "the gradient of an image depends on the others of a batch, as with batch normalisation"
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        return f"PyTorch has no gradients by image for it ({' '.join(str(error).split())[:120]})"
    finally:
        sgd.zero_grad()
        for parameter in trained.values():
            parameter.grad_sample = None  # type: ignore[attr-defined]
    return ""


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).norm()) <= _CLOSE * float(other.norm()) + 1e-6
