"""The training loop of clients and server: SGD with momentum on augmented batches, as in the paper.

A federation calls `train` thousands of times on small sets, so a call must start at once and a step must cost little
more than its convolutions: images stay in memory (`Images`), batches are gathered and augmented as a whole, the
optimiser is fused, and nothing waits for the device inside an epoch.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from fgl_flower.device import resolve_device
from fgl_flower.learning.augment import Augmenter
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.evaluation import predict
from fgl_flower.learning.images import Images
from fgl_flower.learning.precision import Precision
from fgl_flower.learning.randomness import draws_randomly, own_randomness

__all__ = ["Epoch", "LossTerm", "TrainResult", "train"]

LossTerm = Callable[[Classifier, torch.Tensor, torch.Tensor], torch.Tensor]
"""(model, normalised batch (n, 3, S, S), features (n, F)) -> scalar added to the cross entropy (FedProx, MOON)."""

_WARM_UP = 0.05  # share of the steps of a cosine schedule in which the rate rises


@dataclass(frozen=True)
class TrainResult:
    """What one call of `train` did.

    Attributes
    ----------
    loss : float
        Mean cross entropy of the last epoch, in nats, without further loss terms (0 when nothing was trained).
    validation_accuracy : float or None
        Accuracy of the weights that were kept, 0..1; None without validation images.
    epochs : int
        Epochs run.
    """

    loss: float
    validation_accuracy: float | None
    epochs: int


@dataclass(frozen=True)
class Epoch:
    """How an epoch of `train` went.

    Attributes
    ----------
    epoch : int
        Its number, 1 to `epochs`.
    epochs : int
        Epochs to be run.
    loss : float
        Mean cross entropy of this epoch, in nats, without further loss terms.
    validation_accuracy : float or None
        Accuracy after this epoch, 0..1; None without validation images.
    """

    epoch: int
    epochs: int
    loss: float
    validation_accuracy: float | None


def train(
    model: Classifier,
    images: Images,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int,
    device: str = "auto",
    precision: str = "float32",
    schedule: Literal["constant", "cosine"] = "constant",
    validation: Images | None = None,
    loss_terms: LossTerm | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainResult:
    """Train a classifier in place.

    Parameters
    ----------
    model : Classifier
        Moved to the device, and left there in evaluation mode.
    images : Images
        Training images; with none the model is left as it is.
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step; the last step of an epoch takes what is left.
    lr, momentum, weight_decay : float
        Of SGD. The cosine schedule rises to `lr` in 5 % of the steps and then falls to zero.
    seed : int
        Seed of order and augmentation: on the CPU the same call gives the same weights (for one number of threads).
    device, precision : str
        See `resolve_device` and `Precision`.
    validation : Images, optional
        Measured after each epoch; the weights of the best epoch are kept (the later one of equals).
    loss_terms : LossTerm, optional
        Regulariser added to the loss.
    progress : callable, optional
        Told of each epoch at its end.

    Returns
    -------
    TrainResult
    """
    if len(images) == 0:
        return TrainResult(0.0, None, 0)
    target = resolve_device(device)
    passes = Precision(precision, target)
    model.to(target)
    labels = images.labels.to(target)
    fused = target.type in {"cpu", "cuda"}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(trained, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)
    order = torch.Generator().manual_seed(seed)
    steps = math.ceil(len(images) / batch_size) * epochs
    step, loss, best = 0, 0.0, _Best()

    augment = Augmenter(images.pixels.to(target), seed, model.normalise)
    alone = draws_randomly(model, model.normalise(images.pixels[[0, 0]].to(target)))
    with own_randomness(seed, target) if alone else nullcontext():
        for epoch in range(epochs):
            model.train()
            total = torch.zeros((), device=target)
            for index in _batches(len(images), batch_size, order):
                sgd.param_groups[0]["lr"] = lr * (_cosine(step / steps) if schedule == "cosine" else 1.0)
                batch = augment(index)
                with passes.autocast():
                    features = model.features(batch)
                    cross_entropy = F.cross_entropy(model.head(features), labels[index.to(target)])
                    more = loss_terms(model, batch, features) if loss_terms is not None else 0.0
                    objective = cross_entropy + more
                passes.step(objective, sgd)
                sgd.zero_grad()
                total += cross_entropy.detach() * len(index)
                step += 1
            loss = total.item() / len(images)
            accuracy = best.offer(model, validation, device) if validation is not None and len(validation) else None
            if progress is not None:
                progress(Epoch(epoch + 1, epochs, loss, accuracy))

    best.restore(model)
    model.eval()
    return TrainResult(loss, best.accuracy, epochs)


class _Best:
    """Remembers the weights that did best on validation; those of a training that broke down are the last choice."""

    def __init__(self) -> None:
        self.accuracy: float | None = None
        self._rank = (False, -1.0)
        self._state: dict[str, torch.Tensor] = {}

    def offer(self, model: Classifier, validation: Images, device: str) -> float:
        """Measure the weights, keep them if none did better, and return their accuracy."""
        logits = predict(model, validation.pixels, device=device)
        accuracy = (logits.argmax(1) == validation.labels).float().mean().item()
        rank = (bool(logits.isfinite().all()), accuracy)  # of NaN, argmax makes the first class, which may be right
        if rank >= self._rank:
            self.accuracy, self._rank = accuracy, rank
            self._state = {
                name: value.detach().clone() for name, value in model.state_dict().items() if name not in model.fixed
            }
        return accuracy

    def restore(self, model: Classifier) -> None:
        if self._state:
            model.load_state_dict(self._state, strict=False)  # what is fixed is as it was


def _batches(count: int, batch_size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Return the positions of an epoch's batches, (n,) int64 each, in random order.

    Batch normalisation cannot learn from a single sample: an image left over alone joins the batch before it, or, when
    it is all there is, is taken twice (in two augmentations).
    """
    batches = list(torch.randperm(count, generator=generator).split(batch_size))
    if len(batches[-1]) == 1 and batch_size > 1:
        last = batches.pop()
        batches.append(torch.cat([batches.pop(), last]) if batches else last.repeat(2))
    return batches


def _cosine(done: float) -> float:
    """Return the factor of the learning rate at this share of the training: linear warm-up, then half a cosine."""
    if done < _WARM_UP:
        return (done + 1e-3) / (_WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
