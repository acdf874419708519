"""Toy clients and a toy model: what a strategy makes of them can be worked out by hand."""

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Strategy

from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.fgl import Trainer
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid

CLIENTS = 4
SHAPES = {"w": (2, 3), "b": ()}


def learns(value: float) -> Trainer:
    """Return a trainer after which every weight has this value."""
    return lambda arrays, images, server_round: filled(value)


def filled(value: float) -> ArrayRecord:
    return ArrayRecord({k: Array(np.full(shape, value, np.float32)) for k, shape in SHAPES.items()})


def toy_app(seen: list[dict[str, Any]]) -> ClientApp:
    """Return clients that add 1 + partition to every weight; client i holds i + 1 examples."""
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        seen.append({"kind": "prompts", "round": message.content["config"]["server-round"]})
        payload = PromptPayload(number, (Prompt("a star", "star", count=number + 1),), {"star": number + 1})
        return Message(encode(payload), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        seen.append({"kind": "train", **message.content["config"]})
        arrays = message.content.array_records["arrays"]
        own = ArrayRecord({k: Array(np.asarray(a.numpy() + np.float32(1 + number))) for k, a in arrays.items()})
        metrics = MetricRecord({"num-examples": number + 1, "partition-id": number, "loss": 1.0})
        return Message(RecordDict({"arrays": own, "metrics": metrics}), reply_to=message)

    return app


def run(strategy: Strategy, rounds: int) -> tuple[ArrayRecord, list[dict[str, Any]], list[int]]:
    """Return the final arrays, what the clients were asked, and the rounds that were evaluated."""
    seen: list[dict[str, Any]] = []
    evaluated: list[int] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        evaluated.append(server_round)
        return MetricRecord({"round": server_round})

    inline = InlineGrid(toy_app(seen), CLIENTS, {})
    grid = GuardedGrid(inline, Gate(filled(0), CLIENTS, ("star",)), Ledger(CLIENTS), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=rounds, evaluate_fn=evaluate)
    return result.arrays, seen, evaluated
