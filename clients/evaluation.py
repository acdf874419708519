"""How well the global model does on a client's own images."""

from typing import Any

from flwr.app import MetricRecord, RecordDict

from clients.budget import spend
from clients.data import Client
from clients.private import guarantee_of, only_once, private_counts, require
from clients.training import received
from fgl_flower.learning import evaluation


def evaluate(client: Client, content: RecordDict) -> RecordDict:
    """Return ``accuracy`` and ``loss`` of the received arrays on the client's images, with their number.

    ``skipped`` is the number of those that cannot be read, where there are any.
    """
    result = _evaluation(client, content)
    return _reply(client, {"loss": result.loss, "accuracy": result.accuracy})


def evaluate_by_class(client: Client, content: RecordDict, state: RecordDict, run: int = 0) -> RecordDict:
    """Return ``right`` and ``total``: of each class, how many of the client's images the received arrays get right.

    Both are lists in the order of the federation's classes; under `dp-epsilon` with noise, and once a run.
    """
    promise = guarantee_of(client)
    release = None if promise is None else require(client, promise, "evaluation")
    confusion = _evaluation(client, content).confusion  # rows are true classes
    right, total = confusion.diagonal().tolist(), confusion.sum(axis=1).tolist()
    if promise is not None and release is not None:
        only_once(state, "evaluation")
        spend(client.policy, run, "evaluation", promise.mechanism(release), release.times)
        right, total = private_counts(right, total, promise)
        shown: dict[str, Any] = {
            "num-examples": sum(total),
            "partition-id": client.partition_id,
            "right": right,
            "total": total,
        }
        return RecordDict({"metrics": MetricRecord(shown)})
    return _reply(client, {"right": right, "total": total})


def _evaluation(client: Client, content: RecordDict) -> evaluation.Evaluation:
    return evaluation.evaluate(
        received(client, content),
        client.images,
        num_classes=len(client.source.classes),
        num_domains=len(client.source.domains),
        device=client.config.device,
    )


def _reply(client: Client, measured: dict[str, Any]) -> RecordDict:
    images = client.images
    metrics = MetricRecord({"num-examples": len(images), "partition-id": client.partition_id, **measured})
    if images.skipped:
        metrics["skipped"] = len(images.skipped)
    return RecordDict({"metrics": metrics})
