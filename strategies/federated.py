"""Strategies of federated training by name: Flower's own wherever it has them."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy

from fgl_flower.config import FederationConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import WRAPPED


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


def fedavg(config: FederationConfig) -> Strategy:
    """Return FedAvg (McMahan et al., 2017)."""
    return FedAvg(**_common(config))


def fedprox(config: FederationConfig) -> Strategy:
    """Return FedProx (Li et al., arXiv 1812.06127)."""
    return FedProx(**_common(config), proximal_mu=config.proximal_mu)


def fedavgm(config: FederationConfig) -> Strategy:
    """Return FedAvgM (Hsu et al., arXiv 1909.06335)."""
    return FedAvgM(**_common(config), server_momentum=config.server_momentum)


def fedadam(config: FederationConfig) -> Strategy:
    """Return FedAdam (Reddi et al., arXiv 2003.00295)."""
    return Float32FedAdam(**_common(config), eta=config.adaptive_lr, tau=config.adaptive_tau)


def fedyogi(config: FederationConfig) -> Strategy:
    """Return FedYogi (Reddi et al., arXiv 2003.00295)."""
    return FedYogi(**_common(config), eta=config.adaptive_lr, tau=config.adaptive_tau)


def moon(config: FederationConfig) -> Strategy:
    """Return MOON."""
    return Moon(config.moon_mu, config.moon_temperature, **_common(config))


def strategy_of(name: str, config: FederationConfig) -> Strategy:
    """Return the Flower strategy that the key `method` or `wrapped` names.

    Parameters
    ----------
    name : str
        A built-in name or ``module:object``: a function (config) -> Strategy, or a class derived from Flower's
        `Strategy`, of whose parameters those are set that all strategies here share (`fraction_train`, ...).
    config : FederationConfig

    Raises
    ------
    ConfigError
        If it is no strategy.
    """
    result = WRAPPED.load(name)
    if not inspect.isclass(result):
        made = result(config)
    else:
        parameters = inspect.signature(result).parameters
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        made = result(**{key: value for key, value in _common(config).items() if anything or key in parameters})
    if not isinstance(made, Strategy):
        raise ConfigError(f"{name!r} returned a {type(made).__name__}, not a flwr.serverapp.strategy.Strategy")
    return made


def _common(config: FederationConfig) -> dict[str, Any]:
    """Return what all of these strategies take; clients' own evaluation is off: the server validates."""
    return {
        # Flower cuts off what is left of the product: 29 % of 100 clients are 28.999... in floats, and would be 28.
        "fraction_train": min(1.0, math.nextafter(config.fraction, 2.0)),
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_available_nodes": 1,
    }
