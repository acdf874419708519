"""How well the global model does on a client's own images."""

import torch
from flwr.app import MetricRecord, RecordDict

from clients.data import Client
from clients.training import load
from fgl_flower.learning import evaluation
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.images import Images


def evaluate(client: Client, content: RecordDict) -> RecordDict:
    """Return ``accuracy`` and ``loss`` of the received arrays on the client's images, with their number.

    ``skipped`` is the number of those that cannot be read, where there are any.
    """
    images = client.images
    result = evaluation.evaluate(
        load(client, content.array_records["arrays"]),
        images,
        num_classes=len(client.source.classes),
        num_domains=len(client.source.domains),
        device=client.config.device,
    )
    metrics = MetricRecord(
        {
            "num-examples": len(images),
            "partition-id": client.partition_id,
            "loss": result.loss,
            "accuracy": result.accuracy,
        }
    )
    if images.skipped:
        metrics["skipped"] = len(images.skipped)
    return RecordDict({"metrics": metrics})


def evaluate_by_class(client: Client, content: RecordDict) -> RecordDict:
    """Return ``right`` and ``total``: of each class, how many of the client's images the received arrays get right.

    Both are lists in the order of the federation's classes.
    """
    images = client.images
    model = load(client, content.array_records["arrays"])
    right, total = _by_class(model, images, len(client.source.classes), client.config.device)
    metrics = MetricRecord(
        {"num-examples": len(images), "partition-id": client.partition_id, "right": right, "total": total}
    )
    if images.skipped:
        metrics["skipped"] = len(images.skipped)
    return RecordDict({"metrics": metrics})


def _by_class(model: Classifier, images: Images, classes: int, device: str) -> tuple[list[int], list[int]]:
    if not len(images):
        return [0] * classes, [0] * classes
    guesses = evaluation.predict(model, images.pixels, device=device).argmax(1)
    right = torch.bincount(images.labels[guesses == images.labels], minlength=classes)
    return right.tolist(), torch.bincount(images.labels, minlength=classes).tolist()
