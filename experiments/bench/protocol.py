"""What is measured of federations with many clients, and the protocol that all of them follow."""

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psutil

from fgl_flower.config import RunConfig

__all__ = ["Clock", "Federation", "Figures"]


@dataclass(frozen=True)
class Federation:
    """What is measured; the keys of the JSON.

    Attributes
    ----------
    method : str
        "nothing", "prompts" or "fedavg".
    engine : str
        "in process", "Ray", "Flower", "pfl" or "pfl, processes".
    clients, cohort, images, batch_size, rounds : int
        All of them, those of a round of FedAvg, images of each, and of a step; one local epoch a round.
    lr : float
        Of the clients.
    seed : int
    prompt_images : int
        Of all clients together where they are asked for prompts, one each at least.
    """

    method: str
    engine: str
    clients: int
    cohort: int
    images: int
    batch_size: int
    rounds: int
    lr: float
    seed: int
    prompt_images: int = 2100

    @property
    def config(self) -> RunConfig:
        """The run configuration of the same."""
        shared: dict[str, Any] = {"clients": self.clients, "partition": "iid", "seed": self.seed}
        if self.method != "fedavg":
            return RunConfig(private_images=max(self.prompt_images, self.clients), prompt_level="class-style", **shared)
        return RunConfig(
            method="fedavg",
            private_images=self.clients * self.images,
            validation_images=20,  # looked at after every round, which the others do not
            fraction=self.cohort / self.clients,
            rounds=self.rounds,
            local_epochs=1,
            batch_size=self.batch_size,
            local_lr=self.lr,
            momentum=0.0,
            local_weight_decay=0.0,
            **shared,
        )


@dataclass(frozen=True)
class Figures:
    """What was measured of one federation.

    Attributes
    ----------
    start_seconds : float
        From the start of the process to the first answer, or to the end of the first round of training.
    round_seconds : list of float
        Of the rounds after that.
    broadcast_seconds : float, optional
        Of the final model, which every client acknowledges.
    bytes_up, bytes_down : int, optional
        A client, in all rounds, where messages are sent.
    accuracy : float, optional
        Of the last model on the test split, 0..1.
    """

    start_seconds: float
    round_seconds: list[float]
    broadcast_seconds: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    accuracy: float | None = None


class Clock:
    """Times rounds whose ends it is told of."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def end(self) -> None:
        """Note that a round, or what comes before the first, has ended."""
        self.ends.append(time.time())

    def seconds(self) -> list[float]:
        """Return how long each round took."""
        return [after - before for before, after in pairwise(self.ends)]

    def start_seconds(self) -> float:
        """Return the seconds from the start of this process to the first end."""
        return self.ends[0] - psutil.Process().create_time()
