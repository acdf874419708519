"""How well the global model does on a client's own images."""

from flwr.app import MetricRecord, RecordDict

from clients.data import Client
from clients.training import load
from fgl_flower.learning import evaluation


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
