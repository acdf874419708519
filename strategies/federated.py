"""Strategies of federated training by name: Flower's own wherever it has them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from fgl_flower.config import RunConfig


class Float32FedAdam(FedAdam):
    """Flower's FedAdam, whose bias correction (a NumPy scalar) makes float64 of the model: twice the bytes down."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate as FedAdam does, in single precision."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is not None:
            arrays = ArrayRecord({name: Array(array.numpy().astype(np.float32)) for name, array in arrays.items()})
        return arrays, metrics


class Moon(FedAvg):
    """Model-contrastive federated learning (Li, He and Song, arXiv 2103.16257).

    Averages as FedAvg does; the contrastive term is the clients', who find its weight and temperature in the config.

    Parameters
    ----------
    mu : float
        Weight of the contrastive term, >= 0.
    temperature : float
        > 0.
    **options
        FedAvg's.
    """

    def __init__(self, mu: float, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self.mu = mu
        self.temperature = temperature

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Tell clients weight and temperature along with the model."""
        config["moon-mu"], config["moon-temperature"] = self.mu, self.temperature
        return super().configure_train(server_round, arrays, config, grid)


def _common(config: RunConfig) -> dict[str, Any]:
    """Return what all of these strategies take; clients' own evaluation is off: the server validates."""
    return {
        "fraction_train": config.fraction,
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_available_nodes": 1,
    }


STRATEGIES: dict[str, Callable[[RunConfig], Strategy]] = {
    "fedavg": lambda c: FedAvg(**_common(c)),
    "fedprox": lambda c: FedProx(**_common(c), proximal_mu=c.proximal_mu),
    "fedavgm": lambda c: FedAvgM(**_common(c), server_momentum=c.server_momentum),
    "fedadam": lambda c: Float32FedAdam(**_common(c), eta=c.adaptive_lr, tau=c.adaptive_tau),
    "fedyogi": lambda c: FedYogi(**_common(c), eta=c.adaptive_lr, tau=c.adaptive_tau),
    "moon": lambda c: Moon(c.moon_mu, c.moon_temperature, **_common(c)),
}
