"""A client's share of a round of federated training."""

import copy
import hashlib
from functools import lru_cache

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from clients.data import Client
from clients.regularisers import contrastive, proximal
from fgl_flower.learning.classifier import Classifier, build_model
from fgl_flower.learning.training import LossTerm
from fgl_flower.learning.training import train as train_classifier
from fgl_flower.wire.arrays import load_arrays, to_arrays

PREVIOUS = "previous-model"


def train(client: Client, content: RecordDict, state: RecordDict) -> RecordDict:
    """Train the received model on the client's images and return it with ``num-examples``, ``partition-id``, ``loss``.

    ``skipped`` is among the metrics where images cannot be read: their number.

    The result depends on nothing but the received arrays, the run's seed, the partition id and the server round (and,
    for MOON, on the client's previous model, kept in `state`). Without images the arrays go back as they came.

    Parameters
    ----------
    client : Client
    content : RecordDict
        ``arrays`` and ``config`` as Flower's strategies send them. In ``config``: ``server-round``; ``proximal-mu``
        turns on FedProx' term, ``moon-mu`` and ``moon-temperature`` MOON's.
    state : RecordDict
        Stays with the client from round to round.
    """
    config, images = client.config, client.images
    arrays, settings = content.array_records["arrays"], content.config_records["config"]
    loss = 0.0
    if len(images):
        model = load(client, arrays)
        loss = train_classifier(
            model,
            images,
            epochs=config.local_epochs,
            batch_size=config.batch_size,
            lr=config.local_lr,
            momentum=config.momentum,
            weight_decay=config.local_weight_decay,
            seed=round_seed(config.seed, client.partition_id, int(settings["server-round"])),  # type: ignore[arg-type]
            device=config.device,
            precision=config.precision,
            loss_terms=_loss_term(client, model, settings, state),
        ).loss
        arrays = to_arrays(model)
        if "moon-mu" in settings:
            state[PREVIOUS] = arrays
    metrics = MetricRecord({"num-examples": len(images), "partition-id": client.partition_id, "loss": loss})
    if images.skipped:
        metrics["skipped"] = len(images.skipped)
    return RecordDict({"arrays": arrays, "metrics": metrics})


def load(client: Client, arrays: ArrayRecord) -> Classifier:
    """Return the run's classifier with these weights."""
    config = client.config
    model = copy.deepcopy(_untrained(config.model, len(client.source.classes), config.norm, config.seed))
    load_arrays(model, arrays)
    return model


@lru_cache(maxsize=1)  # its weights are drawn once, and not for every client that gets others at once
def _untrained(name: str, classes: int, norm: str, seed: int) -> Classifier:
    return build_model(name, classes, norm, seed=seed)


def round_seed(seed: int, partition_id: int, server_round: int) -> int:
    """Return the seed of a client's training in a round: 63 bits, unrelated for neighbouring clients and rounds."""
    digest = hashlib.blake2b(f"{seed}/{partition_id}/{server_round}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _loss_term(client: Client, start: Classifier, settings: ConfigRecord, state: RecordDict) -> LossTerm | None:
    if mu := settings.get("proximal-mu"):
        return proximal(start, float(mu))  # type: ignore[arg-type]
    if (mu := settings.get("moon-mu")) and PREVIOUS in state:
        previous = load(client, state.array_records[PREVIOUS])
        return contrastive(start, previous, float(mu), float(settings["moon-temperature"]))  # type: ignore[arg-type]
    return None
