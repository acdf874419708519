"""Federated Generative Learning (Zhang, Qi and Zhao, arXiv 2306.16064) as a Flower strategy around another one.

Round 1 is the prompt round: clients are asked for prompts, the server draws images from them, trains the global model
and broadcasts it with the next round's messages. Every later round is the wrapped strategy's, with its own count of
rounds from 1, and may end with fine-tuning on the synthetic images. Prompt rounds may recur in between: only clients
whose data changed send again, and the server trains on if any did.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvgM, Strategy
from flwr.supercore import log

from fgl_flower.limits import Limits
from fgl_flower.payload import HELD_KEY, PromptPayload, Rejection, Unchanged, decode

PROMPT_MESSAGE = "query.prompts"
PROMPT_ROUND = 1  # the first; see Schedule for later ones


@dataclass(frozen=True)
class Schedule:
    """Which of Flower's rounds are prompt rounds: the first, and one after every so many of the wrapped strategy.

    Attributes
    ----------
    every : int
        Rounds of the wrapped strategy between two prompt rounds; 0: there is only the first.
    """

    every: int = 0

    def rounds(self, wrapped: int) -> int:
        """Return Flower's rounds for so many of the wrapped strategy; after the last of these nobody is asked."""
        return 1 + wrapped + (max(0, wrapped - 1) // self.every if self.every else 0)

    def asks(self, server_round: int) -> bool:
        """Return whether a round of Flower's is a prompt round."""
        return server_round == PROMPT_ROUND or self.wrapped(server_round) == self.wrapped(server_round - 1)

    def wrapped(self, server_round: int) -> int:
        """Return the wrapped strategy's last round by a round of Flower's; -1 before the first prompt round."""
        recurred = max(0, server_round - 1) // (self.every + 1) if self.every else 0
        return server_round - PROMPT_ROUND - recurred


class FGL(Strategy):
    """Prompt round first, then the wrapped strategy; after every few of its rounds another prompt round, if wished.

    Parameters
    ----------
    wrapped : Strategy
        Runs the rounds between and after the prompt rounds: any Flower strategy.
    learn : callable
        From the clients' payloads to the arrays of the global model trained on what they describe.
    fine_tune : callable, optional
        From (round of the wrapped strategy, aggregated arrays) to fine-tuned arrays; after each aggregation.
    classes, domains : collections of str
        The federation's names, against which payloads are read.
    limits : Limits
        Bounds of a payload.
    every : int
        Rounds of the wrapped strategy between two prompt rounds; 0: clients are asked once.
    learn_on : callable, optional
        From (round of the wrapped strategy, global model, each client's last payload) to the model trained on, after a
        later prompt round in which a payload changed. By default the model is learned anew.
    log_event : callable, optional
        Told of each prompt round: how many clients sent prompts, how many said that theirs are unchanged.

    Attributes
    ----------
    held : dict of int to (int, PromptPayload)
        Each node's last sound payload and the round in which it was sent. A node that is silent keeps it.

    Notes
    -----
    Run it for ``schedule.rounds(rounds)`` rounds where the wrapped strategy should have ``rounds``: one more, and one
    for each later prompt round.
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
        every: int = 0,
        learn_on: Callable[[int, ArrayRecord, Sequence[PromptPayload]], ArrayRecord] | None = None,
        log_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.wrapped = wrapped
        self.learn = learn
        self.fine_tune = fine_tune
        self.classes = classes
        self.domains = domains
        self.limits = limits or Limits()
        self.schedule = Schedule(every)
        self.learn_on = learn_on or (lambda server_round, arrays, payloads: learn(payloads))
        self.log_event = log_event or (lambda event: None)
        self.held: dict[int, tuple[int, PromptPayload]] = {}
        self._arrays = ArrayRecord()  # the global model with which a prompt round began

    def summary(self) -> None:
        """Log the settings, the wrapped strategy's included."""
        log(INFO, "\t├──> Prompt round, then %s", type(self.wrapped).__name__)
        log(INFO, "\t│\t├── Rounds between two prompt rounds: %s", self.schedule.every or "asked once")
        log(INFO, "\t│\t└── Fine-tuning after each round: %s", "on" if self.fine_tune else "off")
        self.wrapped.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client for its prompts in a prompt round; else do what the wrapped strategy does."""
        number = self.schedule.wrapped(server_round)
        if not self.schedule.asks(server_round):
            if isinstance(self.wrapped, FedAvgM):  # else it steps from its own last model, as if never trained since
                self.wrapped.current_arrays = arrays
            return self.wrapped.configure_train(number, arrays, config, grid)
        if server_round == PROMPT_ROUND:
            self.held.clear()
        self._arrays = arrays
        return [Message(self._question(number, node), node, PROMPT_MESSAGE) for node in grid.get_node_ids()]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Learn from the prompts in a prompt round; else aggregate as the wrapped strategy does and fine-tune."""
        number = self.schedule.wrapped(server_round)
        if not self.schedule.asks(server_round):
            arrays, metrics = self.wrapped.aggregate_train(number, replies)
            if arrays and self.fine_tune:
                arrays = self.fine_tune(number, arrays)
            return arrays, metrics
        changed = self._take(number, replies)
        payloads = sorted((payload for _, payload in self.held.values()), key=lambda payload: payload.partition)
        metrics = MetricRecord({"prompts": sum(len(payload.prompts) for payload in payloads)})
        if server_round == PROMPT_ROUND:
            return self.learn(payloads), metrics
        return self.learn_on(number, self._arrays, payloads) if changed else None, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do what the wrapped strategy does; nothing in a prompt round."""
        if self.schedule.asks(server_round):
            return []
        return self.wrapped.configure_evaluate(self.schedule.wrapped(server_round), arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Do what the wrapped strategy does; nothing in a prompt round."""
        if self.schedule.asks(server_round):
            return None
        return self.wrapped.aggregate_evaluate(self.schedule.wrapped(server_round), replies)

    def _question(self, number: int, node: int) -> RecordDict:
        """Return what a node is asked: by the round of the payload held it knows whether a later one was lost."""
        held = {HELD_KEY: self.held[node][0]} if node in self.held else {}
        return RecordDict({"config": ConfigRecord({"server-round": number, **held})})

    def _take(self, number: int, replies: Iterable[Message]) -> bool:
        """Keep the payloads in the replies and return whether any is another than its node's last one."""
        sent, unchanged, changed = 0, 0, False
        for reply in replies:
            if reply.has_error():
                continue
            node = reply.metadata.src_node_id
            told = decode(reply.content, self.limits, self.classes, self.domains)
            if isinstance(told, Rejection):  # a grid without a gate may be in use
                log(INFO, "prompts of node %d are refused: %s", node, told.reason)
            elif isinstance(told, Unchanged):
                unchanged += node in self.held  # of a node that never told anything it says nothing
            else:
                sent += 1
                changed |= node not in self.held or self.held[node][1] != told
                self.held[node] = number, told
        self.log_event({"event": "prompts", "round": number, "sent": sent, "unchanged": unchanged})
        return changed
