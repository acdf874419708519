"""Selection by the clients: of a run's global models the one that does best on the clients' own images.

What a server without images of its own has in place of validation. Clients answer by class, as after the one-shot
training (`strategies.transfer`); the price is the model once more down, every round.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import ArrayRecord

from strategies.transfer import Transfer

Ask = Callable[[ArrayRecord, int], Transfer]
"""(global model, round) -> how it does on the clients' images."""


class Enough(Exception):  # noqa: N818 (nothing is wrong)
    """No better model came for as many rounds as `patience` says: the run ends here."""


class ClientSelection:
    """Keeps the best model so far.

    Parameters
    ----------
    ask : Ask
    patience : int
        Rounds without a better model after which `offer` raises `Enough`; 0: never.
    log : callable
        Told of each round: its number, and the share of the clients' images that is right.

    Attributes
    ----------
    best : ArrayRecord or None
        None until clients have answered.
    accuracy : float
        Share of the clients' images that it gets right, 0..1.
    round : int
        The round that it came from.
    """

    def __init__(self, ask: Ask, patience: int, log: Callable[[dict[str, Any]], None]) -> None:
        self.best: ArrayRecord | None = None
        self.accuracy = 0.0
        self.round = 0
        self._ask = ask
        self._patience = patience
        self._log = log

    def snapshot(self) -> dict[str, Any] | None:
        """Return as JSON what is known of the best model, None if there is none yet."""
        return None if self.best is None else {"accuracy": self.accuracy, "round": self.round}

    def restore(self, known: Mapping[str, Any], best: ArrayRecord) -> None:
        """Go on from what `snapshot` returned."""
        self.best, self.accuracy, self.round = best, known["accuracy"], known["round"]

    def offer(self, number: int, arrays: ArrayRecord, known: Transfer | None = None) -> bool:
        """Have clients judge the model of a round, unless that is known, and return whether it is the best so far.

        The earlier of equals stays. A round in which nobody answers says nothing, good or bad.

        Raises
        ------
        Enough
            If `patience` is over.
        """
        transfer = known or self._ask(arrays, number)
        if not transfer.total.sum():
            return False
        self._log({"event": "selection", "round": number, "client_accuracy": transfer.overall})
        better = self.best is None or transfer.overall > self.accuracy
        if better:
            self.best, self.accuracy, self.round = arrays, transfer.overall, number
        elif self._patience and number - self.round >= self._patience:
            raise Enough
        return better
