"""A strategy's rounds without those that an earlier process has finished."""

from collections.abc import Callable, Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

Restored = tuple[ArrayRecord, MetricRecord]


class RemainingRounds(Strategy):
    """Runs `inner` from the round after `done`.

    Parameters
    ----------
    inner : Strategy
    done : int
        Flower's last finished round; 0: none.
    replayed : callable
        Whether a finished round is gone through again, its replies coming from the journal: what it left is in none of
        the checkpoint's arrays (FGL's prompts and images).
    restore : callable
        Called in the round `done`; sets the state of everything and returns the global model and the metrics of
        that round.

    Attributes
    ----------
    metrics : MetricRecord
        What clients reported last.
    """

    def __init__(
        self, inner: Strategy, done: int, replayed: Callable[[int], bool], restore: Callable[[], Restored]
    ) -> None:
        self.inner = inner
        self.done = done
        self.replayed = replayed
        self.restore = restore
        self.metrics = MetricRecord()

    def summary(self) -> None:
        """Log the inner strategy's settings."""
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nobody in a finished round."""
        if server_round <= self.done and not self.replayed(server_round):
            return []
        return self.inner.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the kept model in the last finished round, nothing in those before."""
        if server_round > self.done:
            arrays, metrics = self.inner.aggregate_train(server_round, replies)
            self.metrics = metrics or self.metrics
            return arrays, metrics
        if self.replayed(server_round):
            self.inner.aggregate_train(server_round, replies)
        if server_round < self.done:
            return None, None
        arrays, self.metrics = self.restore()
        return arrays, self.metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nobody in a finished round."""
        return [] if server_round <= self.done else self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return nothing in a finished round."""
        return None if server_round <= self.done else self.inner.aggregate_evaluate(server_round, replies)
