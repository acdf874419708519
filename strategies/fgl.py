"""Federated Generative Learning (Zhang, Qi and Zhao, arXiv 2306.16064) as a Flower strategy around another one.

Round 1 is the prompt round: clients are asked for prompts, the server draws images from them, trains the global model
and broadcasts it with the next round's messages. Every later round is the wrapped strategy's, with its own count of
rounds from 1, and may end with fine-tuning on the synthetic images.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from fgl_flower.limits import Limits
from fgl_flower.payload import PromptPayload, Rejection, decode

PROMPT_MESSAGE = "query.prompts"
PROMPT_ROUND = 1


class FGL(Strategy):
    """Prompt round first, then the wrapped strategy.

    Parameters
    ----------
    wrapped : Strategy
        Runs the rounds after the prompt round: any Flower strategy.
    learn : callable
        From the clients' payloads to the arrays of the global model trained on what they describe.
    fine_tune : callable, optional
        From (round of the wrapped strategy, aggregated arrays) to fine-tuned arrays; after each aggregation.
    classes, domains : collections of str
        The federation's names, against which payloads are read.
    limits : Limits
        Bounds of a payload.

    Notes
    -----
    Run it for one round more than the wrapped strategy should have: ``start(..., num_rounds=1 + rounds)``.
    """

    def __init__(
        self,
        wrapped: Strategy,
        learn: Callable[[Sequence[PromptPayload]], ArrayRecord],
        fine_tune: Callable[[int, ArrayRecord], ArrayRecord] | None = None,
        *,
        classes: Collection[str],
        domains: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self.wrapped = wrapped
        self.learn = learn
        self.fine_tune = fine_tune
        self.classes = classes
        self.domains = domains
        self.limits = limits or Limits()

    def summary(self) -> None:
        """Log the settings, the wrapped strategy's included."""
        log(INFO, "\t├──> Prompt round, then %s", type(self.wrapped).__name__)
        log(INFO, "\t│\t└── Fine-tuning after each round: %s", "on" if self.fine_tune else "off")
        self.wrapped.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client for its prompts in the prompt round; later, do what the wrapped strategy does."""
        if server_round > PROMPT_ROUND:
            return self.wrapped.configure_train(server_round - PROMPT_ROUND, arrays, config, grid)
        record = RecordDict({"config": ConfigRecord({"server-round": 0})})
        return [Message(record, node, PROMPT_MESSAGE) for node in grid.get_node_ids()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Learn from the prompts in the prompt round; later, aggregate as the wrapped strategy does and fine-tune."""
        if server_round > PROMPT_ROUND:
            arrays, metrics = self.wrapped.aggregate_train(server_round - PROMPT_ROUND, replies)
            if arrays and self.fine_tune:
                arrays = self.fine_tune(server_round - PROMPT_ROUND, arrays)
            return arrays, metrics
        payloads = []
        for reply in replies:
            if reply.has_error():
                continue
            payload = decode(reply.content, self.limits, self.classes, self.domains)
            if isinstance(payload, Rejection):  # a grid without a gate may be in use
                log(INFO, "prompts of node %d are refused: %s", reply.metadata.src_node_id, payload.reason)
                continue
            payloads.append(payload)
        return self.learn(payloads), MetricRecord({"prompts": sum(len(p.prompts) for p in payloads)})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do what the wrapped strategy does; nothing in the prompt round."""
        if server_round == PROMPT_ROUND:
            return []
        return self.wrapped.configure_evaluate(server_round - PROMPT_ROUND, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Do what the wrapped strategy does; nothing in the prompt round."""
        if server_round == PROMPT_ROUND:
            return None
        return self.wrapped.aggregate_evaluate(server_round - PROMPT_ROUND, replies)
