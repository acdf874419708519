"""A client's share of a round of federated training."""

import hashlib
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from clients.data import Client
from clients.regularisers import contrastive, proximal
from fgl_flower.config import LearnerConfig
from fgl_flower.errors import ModelError
from fgl_flower.learning.building import learner, model_revision
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.training import LossTerm
from fgl_flower.learning.training import train as train_classifier
from fgl_flower.wire.arrays import load_arrays, to_arrays
from fgl_flower.wire.limits import FIXED_WEIGHTS

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
        model = received(client, content)
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


def received(client: Client, content: RecordDict) -> Classifier:
    """Return the classifier whose arrays a message holds.

    Raises
    ------
    ModelError
        If the weights that did not travel are not those of this node's checkpoint.
    """
    name, revision = client.config.model, client.config.model_revision
    told: Any = content.config_records.get("config", {})
    theirs = told.get(FIXED_WEIGHTS, "")
    if theirs and theirs != (own := model_revision(name, revision)):
        raise ModelError(
            f"model = {name!r} is {own} on this node and {theirs} on the server: name one by model-revision, or copy "
            "the server's folder"
        )
    return load(client, content.array_records["arrays"])


def load(client: Client, arrays: ArrayRecord) -> Classifier:
    """Return the run's classifier with these weights."""
    model = learner(client.config.part(LearnerConfig), len(client.source.classes))
    load_arrays(model, arrays)
    return model


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
