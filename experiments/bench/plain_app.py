"""What a user of Flower writes: a ClientApp around a training function, and Flower's FedAvg.

The training function is the project's, so that engines are compared and not loops; images are decoded once a process.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from clients.simulated import ConfiguredClient
from fgl_flower.config import RunConfig

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model on the client's images."""
    from fgl_flower.learning.building import build_model
    from fgl_flower.learning.training import train as train_classifier

    config = RunConfig.parse(dict(context.run_config))
    number = int(context.node_config["partition-id"])
    images = _images(config, number)
    model = build_model(config.model, 10, config.norm, seed=config.seed)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    server_round = int(message.content.config_records["config"]["server-round"])  # type: ignore[arg-type]
    train_classifier(
        model,
        images,
        epochs=config.local_epochs,
        batch_size=config.batch_size,
        lr=config.local_lr,
        momentum=config.momentum,
        weight_decay=config.local_weight_decay,
        seed=config.seed + 1000 * server_round + number,
    )
    content = RecordDict(
        {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(images)})}
    )
    return Message(content, reply_to=message)


class PlainClient(ConfiguredClient):
    """The app with a run configuration; each of its processes loads the data set."""

    app = app


@lru_cache(maxsize=1)
def _shares(config: RunConfig) -> Any:
    from fgl_flower.data.partition import partition
    from fgl_flower.data.sources import load_source

    return partition(load_source(config).private, config)


@cache
def _images(config: RunConfig, number: int) -> Any:
    from fgl_flower.learning.images import decode

    return decode(_shares(config).rows(number), config.image_size)


def fedavg(grid: Grid, config: RunConfig, cohort: int, end: Callable[[], None]) -> float:
    """Run Flower's FedAvg, call `end` after every round, and return the last model's accuracy on the test split."""
    from fgl_flower.data.sources import load_source
    from fgl_flower.learning.building import build_model
    from fgl_flower.learning.evaluation import evaluate
    from fgl_flower.learning.images import decode

    source = load_source(config)
    model = build_model(config.model, 10, config.norm, seed=config.seed)

    def after_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            end()

    strategy = FedAvg(
        fraction_train=cohort / config.clients,
        fraction_evaluate=0.0,
        min_train_nodes=cohort,
        min_available_nodes=config.clients,
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(model.state_dict()),
        num_rounds=config.rounds,
        evaluate_fn=after_round,
    )
    model.load_state_dict(result.arrays.to_torch_state_dict())
    test = decode(source.test, config.image_size)
    return evaluate(model, test, num_classes=10, num_domains=len(source.domains)).accuracy
