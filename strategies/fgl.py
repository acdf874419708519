"""Federated Generative Learning (Zhang, Qi and Zhao, arXiv 2306.16064) as a Flower strategy around another one.

Round 1 is the prompt round: clients are asked for prompts, the server draws images from them, trains the global model
and broadcasts it with the next round's messages. Every later round is the wrapped strategy's, with its own count of
rounds from 1, and may end with fine-tuning on the synthetic images. Prompt rounds may recur in between: only clients
whose data changed send again, and the server trains on if any did.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import TYPE_CHECKING, Any, Protocol

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvgM, Strategy
from flwr.supercore import log

from fgl_flower.errors import RunError
from fgl_flower.wire.codec import HELD_KEY, decode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import PromptPayload, Rejection, Unchanged
from fgl_flower.wire.question import Question
from fgl_flower.wire.sizes import object_bytes
from strategies.inquiry import Inquiry
from strategies.transfer import Transfer, questions

if TYPE_CHECKING:
    from fgl_flower.learning.images import Images

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


class Draws(Protocol):
    """What FGL asks of the one who draws; `strategies.synthesis.Synthesis` is one.

    Attributes
    ----------
    classes, domains : collections of str
        The federation's names, against which payloads are read.
    limits : Limits
        Bounds of a payload.
    """

    @property
    def classes(self) -> Collection[str]: ...
    @property
    def domains(self) -> Collection[str]: ...
    @property
    def limits(self) -> Limits: ...

    def draw(self, payloads: Sequence[PromptPayload]) -> "Images":
        """Return labelled images of what the clients described."""
        ...


Trainer = Callable[[ArrayRecord, "Images", int], ArrayRecord]
"""(global model, synthetic images, round) -> the model trained on them; round 0 comes before the wrapped strategy's."""

Reader = Callable[[Message], PromptPayload | Unchanged | Rejection]
"""From a reply to a prompt round to what it holds."""


class FGL(Strategy):
    """Prompt round first, then the wrapped strategy; after every few of its rounds another prompt round, if wished.

    Usable in any Flower ``ServerApp``, see `experiments.examples.bare_server_app`.

    Parameters
    ----------
    wrapped : Strategy
        Runs the rounds between and after the prompt rounds: any Flower strategy.
    synthesis : Draws
        From the clients' payloads to labelled images.
    train : Trainer
        Trains the global model on the images of a prompt round.
    fine_tune : Trainer, optional
        Trains an aggregated model on the images of the last prompt round, after each of the wrapped strategy's rounds.
    every : int
        Rounds of the wrapped strategy between two prompt rounds; 0: clients are asked once.
    inquiry : Inquiry, optional
        Says what clients are asked, and asks again by what they say of the model; by default they are asked once, at
        their run's level, and not how the model does.
    read : Reader, optional
        Reads replies where they have been read already, by a gate; by default they are decoded here.
    timeout : float
        Seconds that clients have to answer where FGL itself asks, within a prompt round.
    log_event : callable, optional
        Told of each prompt round: how many clients sent prompts, how many said that theirs are unchanged.

    Attributes
    ----------
    held : dict of int to (int, PromptPayload)
        Each node's last sound payload and the round in which it was sent. A node that is silent keeps it.
    seconds : dict of int to int
        What learning tokens has taken clients, as they say, by partition; empty where none learned.
    limited : dict of int to str
        How owners' rules changed the last answer of clients, a sentence each, by partition.
    images : Images or None
        Those of the last prompt round.
    transfer : Transfer or None
        How the last one-shot model does on the clients' images; None: they were not asked.
    one_shot : ArrayRecord or None
        That model.

    Notes
    -----
    Run it for ``schedule.rounds(rounds)`` rounds where the wrapped strategy should have ``rounds``: one more, and one
    for each later prompt round.
    """

    def __init__(
        self,
        wrapped: Strategy,
        synthesis: Draws,
        train: Trainer,
        fine_tune: Trainer | None = None,
        *,
        every: int = 0,
        inquiry: Inquiry | None = None,
        read: Reader | None = None,
        log_event: Callable[[dict[str, Any]], None] | None = None,
        timeout: float = 3600.0,
    ) -> None:
        self.wrapped = wrapped
        self.synthesis = synthesis
        self.train = train
        self.fine_tune = fine_tune
        self.schedule = Schedule(every)
        self.inquiry = inquiry
        self.transfer: Transfer | None = None
        self.one_shot: ArrayRecord | None = None
        self.read = read or self._decode
        self.log_event = log_event or (lambda event: None)
        self.timeout = timeout
        self.held: dict[int, tuple[int, PromptPayload]] = {}
        self.seconds: dict[int, int] = {}
        self.limited: dict[int, str] = {}
        self.images: Images | None = None
        self._arrays = ArrayRecord()  # the global model with which a prompt round began
        self._grid: Grid | None = None
        self._questions: list[Question] = []  # of the prompt round that is under way

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
        self._arrays, self._grid = arrays, grid
        self._questions = self.inquiry.first() if self.inquiry else [Question()]
        return self._messages(number, self._questions[0])

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Learn from the prompts in a prompt round; else aggregate as the wrapped strategy does and fine-tune."""
        number = self.schedule.wrapped(server_round)
        if not self.schedule.asks(server_round):
            arrays, metrics = self.wrapped.aggregate_train(number, replies)
            if arrays and self.fine_tune and self.images is not None:
                arrays = self.fine_tune(arrays, self.images, number)
            return arrays, metrics
        first, *others = self._questions
        changed = self._take(number, replies, first)
        for question in others:
            changed |= self._take(number, self._send(self._messages(number, question)), question)
        while self.inquiry is not None and (following := self.inquiry.following()):
            changed |= self._take(number, self._send(self._messages(number, following)), following)
        payloads = self._payloads()
        metrics = MetricRecord({"prompts": sum(len(payload.prompts) for payload in payloads)})
        if server_round != PROMPT_ROUND and not changed:
            return None, metrics
        arrays = self._learn(payloads, number)
        if self.inquiry is not None and self.inquiry.evaluates:
            arrays = self._improve(arrays, number)
        return arrays, metrics

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

    def _learn(self, payloads: Sequence[PromptPayload], number: int) -> ArrayRecord:
        self.images = self.synthesis.draw(payloads)
        return self.train(self._arrays, self.images, number)

    def _improve(self, arrays: ArrayRecord, number: int) -> ArrayRecord:
        """Ask clients how the model does on their images, then for more where it does badly, as long as that helps."""
        assert self.inquiry is not None
        drawn, images, levels = self._payloads(), self.images, dict(self.inquiry.level)
        transfer = best = self._ask_transfer(arrays, number)
        while questions := self.inquiry.learn(transfer):
            for question in questions:
                self._take(number, self._send(self._messages(number, question)), question)
            payloads, mixed = self._payloads(), dict(self.inquiry.level)
            tried = self._learn(payloads, number)
            transfer = self._ask_transfer(tried, number)
            if transfer.overall > best.overall:
                arrays, best, drawn, images, levels = tried, transfer, payloads, self.images, mixed
        if self.images is not images:
            self.images = self.synthesis.draw(drawn)  # those of the model that is kept; the store has them
        self.inquiry.level = levels
        self.transfer, self.one_shot = best, arrays
        return arrays

    def _ask_transfer(self, arrays: ArrayRecord, number: int) -> Transfer:
        assert self._grid is not None
        transfer = Transfer.of(list(self.synthesis.classes), self._send(questions(self._grid, arrays, number)))
        self.log_event({"event": "transfer", "round": number, "classes": transfer.figures()})
        return transfer

    def _send(self, messages: Sequence[Message]) -> Iterable[Message]:
        """Return the replies to what is asked beyond a round's first question; having none ends no run."""
        assert self._grid is not None
        try:
            return self._grid.send_and_receive(messages, timeout=self.timeout) if messages else []
        except RunError as error:
            log(INFO, "%s; the run goes on with what clients said before", error)
            return []

    def _messages(self, number: int, question: Question) -> list[Message]:
        """Return what each node is asked: by the round of the payload held it knows whether a later one was lost."""
        assert self._grid is not None
        nodes = list(self._grid.get_node_ids())
        asked = self.inquiry.addressed(question, nodes) if self.inquiry else dict.fromkeys(nodes, question)
        result, candidates = [], question.records()  # large, and the same for all
        for node, own in asked.items():
            held = {HELD_KEY: self.held[node][0]} if node in self.held else {}
            config = ConfigRecord({"server-round": number, **held, **own.to_config()})
            result.append(Message(RecordDict({"config": config, **candidates}), node, PROMPT_MESSAGE))
        return result

    def _payloads(self) -> list[PromptPayload]:
        """Return what is to be drawn, in the order of partitions."""
        if self.inquiry is not None and self.inquiry.composes:
            return self.inquiry.payloads()
        return sorted((payload for _, payload in self.held.values()), key=lambda payload: payload.partition_id)

    def _decode(self, reply: Message) -> PromptPayload | Unchanged | Rejection:
        return decode(reply.content, self.synthesis.limits, self.synthesis.classes, self.synthesis.domains)

    def _take(self, number: int, replies: Iterable[Message], question: Question) -> bool:
        """Keep the payloads in the replies and return whether any is another than its node's last one."""
        sent, unchanged, changed = 0, 0, False
        for reply in replies:
            if reply.has_error():
                continue
            node = reply.metadata.src_node_id
            payload = self.read(reply)
            if isinstance(payload, Rejection):  # a grid without a gate may be in use
                log(INFO, "prompts of node %d are refused: %s", node, payload.reason)
            elif isinstance(payload, Unchanged):
                unchanged += node in self.held  # of a node that never sent anything it says nothing
            else:
                sent += 1
                changed |= node not in self.held or self.held[node][1] != payload
                self.held[node] = number, payload
                if payload.seconds:
                    self.seconds[payload.partition_id] = self.seconds.get(payload.partition_id, 0) + payload.seconds
                if sentence := _limits_of_owner(payload):
                    self.limited[payload.partition_id] = sentence
                    self.log_event({"event": "policy", "client": str(payload.partition_id), "text": sentence})
                if self.inquiry is not None:
                    self.inquiry.take(node, question, payload, object_bytes(reply.content))
        if self.inquiry is not None:
            self.inquiry.settle(question)
        level = {"level": question.level} if question.level else {}
        self.log_event({"event": "prompts", "round": number, "sent": sent, "unchanged": unchanged, **level})
        return changed


def _limits_of_owner(payload: PromptPayload) -> str:
    """Return how the owner's rules changed an answer, as the client says; "" if they did not."""
    changes = [f"it answered at the level {payload.level!r}"] if payload.level else []
    what = "votes for candidates" if payload.kind == "votes" else "prompts"
    changes += [f"it kept back {payload.held_back:,} {what}"] if payload.held_back else []
    return f"client {payload.partition_id}: by its owner's rules {' and '.join(changes)}" if changes else ""
