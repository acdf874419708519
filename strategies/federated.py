"""Strategies of federated training by name: Flower's own wherever it has them."""

from collections.abc import Callable
from typing import Any

from flwr.serverapp.strategy import FedAvg, Strategy

from fgl_flower.config import RunConfig


def _common(config: RunConfig) -> dict[str, Any]:
    """Return what all of Flower's averaging strategies take; clients' own evaluation is off, the server validates."""
    return {
        "fraction_train": config.fraction,
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_available_nodes": 1,
    }


STRATEGIES: dict[str, Callable[[RunConfig], Strategy]] = {
    "fedavg": lambda config: FedAvg(**_common(config)),
}
