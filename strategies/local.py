"""The floor: each client trains alone on what it has; no model is ever shared."""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from fgl_flower.errors import RunError
from strategies.outcome import Outcome
from strategies.resume.course import Course
from strategies.server import Server


class Local(Strategy):
    """Sends every client its own model back.

    Attributes
    ----------
    models : dict of int to ArrayRecord
        Each node's model after its last round.
    """

    def __init__(self) -> None:
        self.models: dict[int, ArrayRecord] = {}

    def summary(self) -> None:
        """There is nothing to set."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client to go on with its own model, at first the common initialisation."""
        settings = ConfigRecord({**config, "server-round": server_round})
        return [
            Message(RecordDict({"arrays": self.models.get(node, arrays), "config": settings}), node, "train")
            for node in grid.get_node_ids()
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Keep each client's model; there is nothing in common but the mean of what clients report."""
        sound = [reply for reply in replies if not reply.has_error()]
        for reply in sound:
            self.models[reply.metadata.src_node_id] = reply.content.array_records["arrays"]
        contents = [reply.content for reply in sound]
        return None, aggregate_metricrecords(contents, "num-examples") if contents else None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nothing."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return nothing: clients are not asked to evaluate."""
        return None


def local(server: Server) -> Outcome:
    """Return the models of all clients that hold images, each trained for ``rounds`` times ``local-epochs`` epochs."""
    strategy, rounds = Local(), server.config.rounds
    server.grid.metered = False  # models travel here only to be measured: training alone costs no bytes
    result = Course(server, strategy).run(
        strategy, rounds, lambda server_round, _: server.folder.progress("rounds", server_round, rounds)
    )
    models = list(strategy.models.values())
    if not models:
        raise RunError("no client holds any image: there is nothing to train on")
    server.validate(rounds, models)
    server.judge_clients(result.train_metrics_clientapp)
    return Outcome(models)
