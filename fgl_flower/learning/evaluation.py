"""How well a classifier does: in total, by class and by domain."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fgl_flower.device import resolve_device
from fgl_flower.learning import images as taken_in
from fgl_flower.learning.images import Images

__all__ = ["Evaluation", "averaged", "evaluate", "predict"]


_PIXELS_AT_ONCE = 512 * 32**2  # on a CPU, whose caches they soon leave; other devices want more to do


@dataclass(frozen=True)
class Evaluation:
    """Figures of one classifier on one set of images.

    Attributes
    ----------
    accuracy : float
        Share of images whose class is right, 0..1 (0 without images).
    loss : float
        Mean cross entropy in nats (0 without images).
    by_class, by_domain : list of float or None
        Accuracy on each class or domain; None where there is no image of it.
    confusion : numpy.ndarray
        (C, C) int64: rows are true classes, columns predicted ones.
    right, total : numpy.ndarray
        (C, D) int64: images of each class and domain that are right, and all of them; those of unknown domain left out.
    count : int
        Number of images.
    """

    accuracy: float
    loss: float
    by_class: list[float | None]
    by_domain: list[float | None]
    confusion: np.ndarray = field(repr=False)
    right: np.ndarray = field(repr=False)
    total: np.ndarray = field(repr=False)
    count: int


@torch.inference_mode()
def predict(
    model: nn.Module, pixels: torch.Tensor, *, batch_size: int | None = None, device: str = "auto"
) -> torch.Tensor:
    """Return (N, C) float32 logits, on the CPU, of (N, 3, S, S) uint8 images, `batch_size` at once; see `evaluate`."""
    target = resolve_device(device)
    batch_size = batch_size or _at_once(pixels.shape[-1], target)
    normalise: Callable[[torch.Tensor], torch.Tensor] = getattr(model, "normalise", taken_in.normalise)
    training = model.training
    model.to(target).eval()
    logits = [model(normalise(batch.to(target))).float().cpu() for batch in pixels.split(batch_size)]
    model.train(training)
    return torch.cat(logits)


def evaluate(
    model: nn.Module,
    images: Images,
    *,
    num_classes: int,
    num_domains: int,
    batch_size: int | None = None,
    device: str = "auto",
) -> Evaluation:
    """Return the accuracy, loss and confusion of a classifier on images.

    Parameters
    ----------
    model : torch.nn.Module
        (N, 3, S, S) float -> (N, num_classes) logits, of images as the model itself normalises them if it is a
        `Classifier`, else as `fgl_flower.learning.images.normalise` does.
    images : Images
        May be empty: a client without data must still be able to answer.
    num_classes, num_domains : int
        Lengths of `by_class` and `by_domain`.
    batch_size : int, optional
        Images at once; does not change the result. None: 512 of 32 pixels a side on a CPU, as much memory of others.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    """
    if len(images) == 0:
        nothing = np.zeros((num_classes, num_classes), dtype=np.int64)
        none = np.zeros((num_classes, num_domains), dtype=np.int64)
        return Evaluation(0.0, 0.0, [None] * num_classes, [None] * num_domains, nothing, none, none.copy(), 0)
    logits = predict(model, images.pixels, batch_size=batch_size, device=device)
    guesses = logits.argmax(1)
    right = guesses == images.labels
    # Not torchmetrics: this is its one line, and to import it takes each process of a client 2 s and 136 MiB.
    confusion = torch.bincount(images.labels * num_classes + guesses, minlength=num_classes**2)
    return Evaluation(
        accuracy=right.float().mean().item(),
        loss=F.cross_entropy(logits, images.labels).item(),
        by_class=_shares(right, images.labels, num_classes),
        by_domain=_shares(right, images.domains, num_domains),
        confusion=confusion.reshape(num_classes, num_classes).numpy(),
        right=_table(images, right, num_classes, num_domains),
        total=_table(images, torch.ones_like(right), num_classes, num_domains),
        count=len(images),
    )


def _at_once(size: int, device: torch.device) -> int:
    """Return how many images a device takes at once: what a model holds of them grows with their area."""
    most = _PIXELS_AT_ONCE if device.type == "cpu" else 32 * _PIXELS_AT_ONCE
    return min(512, max(1, most // size**2))


def _shares(right: torch.Tensor, group: torch.Tensor, groups: int) -> list[float | None]:
    known = group >= 0
    total = torch.bincount(group[known], minlength=groups).tolist()
    hits = torch.bincount(group[known & right], minlength=groups).tolist()
    return [h / t if t else None for h, t in zip(hits, total, strict=True)]


def _table(images: Images, chosen: torch.Tensor, classes: int, domains: int) -> np.ndarray:
    """Return how many of the chosen images belong to each class and domain, (C, D) int64."""
    chosen = chosen & (images.domains >= 0)
    place = images.labels[chosen] * domains + images.domains[chosen]
    return torch.bincount(place, minlength=classes * domains).reshape(classes, domains).numpy()


def averaged(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the mean of evaluations on the same images; counts are summed, but for that of the images."""
    return Evaluation(
        accuracy=fmean(one.accuracy for one in evaluations),
        loss=fmean(one.loss for one in evaluations),
        by_class=[_mean(shares) for shares in zip(*(one.by_class for one in evaluations), strict=True)],
        by_domain=[_mean(shares) for shares in zip(*(one.by_domain for one in evaluations), strict=True)],
        confusion=np.sum([one.confusion for one in evaluations], axis=0),
        right=np.sum([one.right for one in evaluations], axis=0),
        total=np.sum([one.total for one in evaluations], axis=0),
        count=evaluations[0].count,
    )


def _mean(shares: Iterable[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return fmean(known) if known else None
