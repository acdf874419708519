"""A Flower strategy of your own under FGL: FedAvg that goes only a part of the way to the clients' mean.

    python -m experiments.examples.own_strategy

In a TOML: wrapped = "experiments.examples.own_strategy:Damped", or method = "..." to run it without FGL.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from experiments import run
from fgl_flower import Result, RunConfig

STEP = 0.5  # share of the way


class Damped(FedAvg):
    """Moves the global model by `STEP` times the clients' mean change."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep the model that the clients start from."""
        self.before = {name: array.numpy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate as FedAvg does and take a part of the step."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is not None:
            moved = {n: self.before[n] + STEP * (a.numpy() - self.before[n]) for n, a in arrays.items()}
            arrays = ArrayRecord({n: Array(np.asarray(value, self.before[n].dtype)) for n, value in moved.items()})
        return arrays, metrics


def main(**changes: Any) -> Result:
    """Run one-shot FGL and then two rounds of this strategy."""
    keys = {
        "wrapped": "experiments.examples.own_strategy:Damped",
        "rounds": 2,
        "local_lr": 0.03,
        "name": "own-strategy",
    }
    return run(RunConfig(**{**keys, **changes}))


if __name__ == "__main__":
    print(f"test accuracy {main().accuracy:.3f}")
