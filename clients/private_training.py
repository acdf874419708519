"""A client's share of a round of federated training under `dp-epsilon`: DP-SGD, and nothing but the model leaves."""

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from clients.budget import spend
from clients.data import Client
from clients.policy import PolicyError
from clients.private import RELEASED, require
from clients.training import received
from fgl_flower.learning.private_training import train_privately
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.wire.arrays import to_arrays

ROUNDS = "rounds"


def train_with_noise(
    client: Client, promise: Guarantee, content: RecordDict, state: RecordDict, run: int = 0
) -> RecordDict:
    """Train the received model by DP-SGD and return it with ``num-examples``, always 1, and ``partition-id``.

    Every client counts alike, as the number of its images is private: one with more images has a larger sum of
    gradients, which all divide by the same number. Losses, unreadable images and that a client has none are not told.

    Raises
    ------
    PolicyError
        If the run's promise covers no models, all its rounds are answered, the server asks for what changes the loss,
        or the owner's budget is spent.
    """
    release, config = require(client, promise, "models"), client.config
    settings = content.config_records["config"]
    if extra := sorted(key for key in settings if key.endswith("-mu")):
        raise PolicyError(f"the run promises differential privacy (dp-epsilon), and has none for {extra[0]}")
    steps = release.times // config.rounds
    _count_round(state, int(settings["server-round"]), config.rounds)  # type: ignore[arg-type]
    model = received(client, content)
    spend(client.policy, run, "models", promise.mechanism(release), steps)
    train_privately(
        model,
        client.images,
        steps=steps,
        rate=release.rate,
        noise=promise.noise,
        clip=config.dp_clip,
        batch_size=config.batch_size,
        lr=config.local_lr,
        momentum=config.momentum,
        weight_decay=config.local_weight_decay,
        device=config.device,
    )
    metrics = MetricRecord({"num-examples": 1, "partition-id": client.partition_id})
    return RecordDict({"arrays": to_arrays(model), "metrics": metrics})


def _count_round(state: RecordDict, number: int, rounds: int) -> None:
    """Note a round that is about to be answered; none is answered twice, and no more than the promise is made for."""
    record = state.config_records.get(RELEASED + "models")
    answered: list[int] = list(record[ROUNDS]) if record is not None else []  # type: ignore[arg-type]
    if number in answered or len(answered) >= rounds:
        raise PolicyError(
            f"the run's privacy budget for models is spent: {len(answered)} of {rounds} rounds are answered, and none "
            "is answered twice"
        )
    state[RELEASED + "models"] = ConfigRecord({ROUNDS: [*answered, number]})
