"""The rounds of a strategy from the first that is not done, each kept when it is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp.strategy import Result, Strategy

from fgl_flower.simulation import InlineGrid
from strategies.resume import snapshot
from strategies.resume.journal import from_bytes, to_bytes
from strategies.resume.rounds import RemainingRounds

if TYPE_CHECKING:
    from strategies.server import Server

Take = Callable[[], tuple[dict[str, Any], ArrayRecord]]
Give = Callable[[Mapping[str, Any], ArrayRecord], None]


class Course:
    """A run's course through the rounds of a strategy.

    Parameters
    ----------
    server : Server
        Whose accounts are kept and taken back with each round.
    learner : Strategy
        What has a state, the strategy or a part of it.
    take, give : callable
        Return what else a round leaves, JSON and arrays, and take it back.
    """

    def __init__(
        self,
        server: "Server",
        learner: Strategy,
        take: Take = lambda: ({}, ArrayRecord()),
        give: Give = lambda values, arrays: None,
    ) -> None:
        self.server = server
        self.learner = learner
        self._take = take
        self._give = give

    def run(
        self,
        strategy: Strategy,
        rounds: int,
        evaluate: Callable[[int, ArrayRecord], MetricRecord | None],
        seed: Callable[[int], None] = lambda server_round: None,
        replayed: Callable[[int], bool] = lambda server_round: False,
    ) -> Result:
        """Run the rounds that are not done; a strategy with a `start` of its own is run whole, and not kept.

        Parameters
        ----------
        strategy : Strategy
        rounds : int
        evaluate : callable
            Called after each round, 0 being the model before the first, as Flower does; not of rounds that are done.
        seed : callable
            Called after each round, done or not: sets the random state of the next one.
        replayed : callable
            Whether a round that is done is gone through again; see `RemainingRounds`.
        """
        server, state = self.server, self.server.state
        if type(strategy).start is not Strategy.start:
            state = None
        done = state.checkpoint.number if state and state.checkpoint else 0
        remaining = RemainingRounds(strategy, done, replayed, self._restore)

        def after(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            seed(server_round)
            if server_round <= done and done:
                return None
            measured = evaluate(server_round, arrays)
            if server_round and state:
                self._save(server_round, arrays, remaining.metrics)
            return measured

        course = remaining if type(strategy).start is Strategy.start else strategy
        return course.start(
            server.grid, server.initial, num_rounds=rounds, timeout=server.config.round_timeout, evaluate_fn=after
        )

    def _save(self, server_round: int, arrays: ArrayRecord, metrics: MetricRecord) -> None:
        server = self.server
        assert server.state is not None
        attributes, learnt = snapshot.take(self.learner)
        values, best = self._take()
        inner = server.grid.inner
        kept = inner.states() if isinstance(inner, InlineGrid) else {}
        server.state.save(
            server_round,
            {
                "method": values,
                "strategy": attributes,
                "metrics": dict(metrics),
                "ledger": server.ledger.snapshot(),
                "grid": server.grid.snapshot(),
                "validation": [server.validation_accuracy, server.validation_loss],
                "diverged": sorted(server.diverged),
                "warnings": server.folder.warnings,
                "events": server.folder.events.size,
            },
            {
                **{f"global/{name}": array for name, array in arrays.items()},
                **{f"best/{name}": array for name, array in best.items()},
                **{f"strategy/{name}": array for name, array in learnt.items()},
                **{f"client/{node}": Array(np.frombuffer(to_bytes(s), np.uint8)) for node, s in kept.items()},
            },
        )

    def _restore(self) -> tuple[ArrayRecord, MetricRecord]:
        server = self.server
        assert server.state is not None
        checkpoint = server.state.checkpoint
        assert checkpoint is not None
        values = checkpoint.values
        snapshot.give(self.learner, values["strategy"], checkpoint.record("strategy"))
        self._give(values["method"], checkpoint.record("best"))
        server.ledger.restore(values["ledger"])
        server.grid.restore(values["grid"])
        clients = {int(node): from_bytes(a.numpy().tobytes()) for node, a in checkpoint.record("client").items()}
        if isinstance(server.grid.inner, InlineGrid):
            server.grid.inner.restore_states(clients)
        server.validation_accuracy, server.validation_loss = values["validation"]
        server.diverged = set(values["diverged"])
        for warning in values["warnings"]:
            server.folder.warn(warning)
        server.folder.muted = False
        server.folder.log({"event": "resumed", "times": server.folder.resumed, "after": checkpoint.number})
        return checkpoint.record("global"), MetricRecord(values["metrics"])
