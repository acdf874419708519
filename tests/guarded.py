"""A gate, and clients behind a guarded grid, for tests of what replies may do."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.payload import Rejection
from strategies.gate import Admitted, Gate
from strategies.guarded_grid import GuardedGrid

CLIENTS = 5
GLOBAL = ArrayRecord({"w": Array(np.zeros((2, 3), np.float32)), "b": Array(np.zeros((), np.float32))})
InlineGrid(ClientApp(), 1, {})  # gives this process the identity that Flower's messages need


def arrays(**changes: Array) -> ArrayRecord:
    return ArrayRecord({**dict(GLOBAL), **changes})


def metrics(**changes: Any) -> MetricRecord:
    values = {"num-examples": 10, "partition-id": 1, "loss": 0.5}
    return MetricRecord({**values, **{key.replace("_", "-"): value for key, value in changes.items()}})


def check(content: RecordDict, kind: str = "train", **options: Any) -> Admitted | Rejection:
    gate = Gate(GLOBAL, CLIENTS, ("star", "circle"), ("sketch",), **options)
    return gate.check(kind, Message(content, 5, kind))


Answer = Callable[[int, Message], RecordDict | None]


def federation(answer: Answer) -> tuple[GuardedGrid, list[dict[str, Any]]]:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content = answer(int(context.node_config["partition-id"]), message)
        return Message(content, reply_to=message) if content is not None else None  # type: ignore[return-value]

    events: list[dict[str, Any]] = []
    grid = GuardedGrid(InlineGrid(app, CLIENTS, {}), Gate(GLOBAL, CLIENTS, ()), Ledger(CLIENTS), events.append)
    return grid, events


def constant(partition: int, examples: int = 1) -> RecordDict:
    """Return a sound reply whose weights are all the partition's number."""
    own = ArrayRecord({k: Array(np.full(a.shape, partition, np.float32)) for k, a in GLOBAL.items()})
    return RecordDict({"arrays": own, "metrics": metrics(partition_id=partition, num_examples=examples)})


def start(grid: GuardedGrid, rounds: int = 1, strategy: type[FedAvg] = FedAvg) -> ArrayRecord:
    options = {"min_train_nodes": 1, "min_available_nodes": 1, "fraction_evaluate": 0.0}
    return strategy(**options).start(grid, GLOBAL, num_rounds=rounds, timeout=5).arrays  # type: ignore[arg-type]
