"""`GuardedGrid`: a Flower `Grid` that meters every message and lets only sound replies through.

It stands between any strategy and any grid, so third-party strategies are metered and protected without knowing it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from logging import INFO
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore import log
from flwr.supercore.run import Run

from fgl_flower.errors import RunError
from fgl_flower.records.ledger import Direction, Ledger
from fgl_flower.records.result import Failure
from fgl_flower.wire.limits import FIXED_WEIGHTS, SIMULATED
from fgl_flower.wire.payload import PromptPayload, Rejection, Unchanged
from fgl_flower.wire.sizes import message_bytes, message_objects
from strategies.averaging import RunningMean
from strategies.collecting import Collector, Reply
from strategies.failures import ClientErrors, Failures
from strategies.gate import Gate
from strategies.resume.state import RunState
from strategies.streaming import Stragglers, registration_order, simulated_by_ray

Log = Callable[[dict[str, Any]], None]

Waiting = Callable[[str, int, int, int, Sequence[str]], None]
_SHOWN = 20  # names of those who have answered

EMPTY_ROUNDS = 3  # in a row, of a part of the clients each: no accident of one bad client any more


class GuardedGrid(Grid):
    """Wraps `inner`; see the module.

    Parameters
    ----------
    inner : Grid
        Flower's grid or an `InlineGrid`.
    gate : Gate
        Judges replies. A refused client is quarantined: its node is hidden and not asked again in this run.
    ledger : Ledger
        Counts every message, refused ones included.
    log : callable
        Receives ``quarantine`` (refused) and ``failure`` (error reply, none in time, or not connected; asked again next
        round) events.
    errors : ClientErrors, optional
        Receives the whole texts of error replies; in a simulation only, where clients are trusted.
    state : RunState, optional
        Keeps replies as they come, and has those that came to an earlier process of the run: nobody is asked for them.
    deployed : bool
        Whether clients are machines of their own: replies to training are kept, too, and how long each call took is
        logged. In a simulation asking again costs as much as reading, and the time says nothing of clients.
    quorum : int
        Usable replies that a round needs, if as many are asked.
    prompt_timeout : float, optional
        Seconds to wait for replies to a prompt round in place of what `send_and_receive` is told.
    waiting : callable
        Told, with each reply, what was asked in which round, how many have answered, of how many, and the first names.

    Attributes
    ----------
    quarantined : dict of str to str
        Refused clients and why.
    partition_ids : dict of int to int
        The partition id of each node, as far as it has said.
    metered : bool
        Whether messages count; off for those that the method itself would not send.
    fixed : str
        What stands for weights that do not travel; clients that have others refuse to work.
    averages : bool
        Whether the strategy makes nothing of the clients' models but their weighted mean: it then gets one reply that
        holds the mean, taken as they came, and the server's memory does not grow with the clients.

    Notes
    -----
    Replies are returned in the order of partition ids, so that sums of floats do not depend on who is fastest. Replies
    with no examples are kept back: they carry no weight, and a mean over nothing but them has no value.
    """

    def __init__(
        self,
        inner: Grid,
        gate: Gate,
        ledger: Ledger,
        log: Log,
        *,
        errors: ClientErrors | None = None,
        state: RunState | None = None,
        deployed: bool = False,
        quorum: int = 0,
        prompt_timeout: float | None = None,
        waiting: Waiting = lambda asked, server_round, answered, of, names: None,
    ) -> None:
        self.inner = inner
        self.gate = gate
        self.ledger = ledger
        self.log = log
        self.errors = errors
        self.quarantined: dict[str, str] = {}
        self.partition_ids: dict[int, int] = {}
        self.metered = True
        self.averages = False
        self.fixed = ""
        self._holders: dict[int, int] = {}  # partition id -> node
        self._names: dict[int, int] = dict(getattr(inner, "partition_ids", {}))  # as the simulation itself says
        self._failures = Failures()
        self._skipped: dict[int, int] = {}  # by partition id
        self._came: set[int] = set()
        self._shut_out: set[int] = set()
        self._pending: dict[str, Message] = {}
        self._payloads: dict[int, PromptPayload | Unchanged] = {}  # of the last prompt round, by node
        self._versions: dict[int, dict[str, str]] = {}
        self._empty = 0
        self._deployed = deployed
        self._quorum = quorum
        self._prompt_timeout = prompt_timeout
        self._waiting = waiting
        self._stragglers = Stragglers()
        self._collector = Collector(inner, self._stragglers, state, keep_training=deployed)

    @property
    def failures(self) -> list[Failure]:
        """Clients that gave an error or no reply in time, or were not connected: an entry for each reason."""
        return self._failures.by_client(self._name)

    @property
    def skipped(self) -> dict[str, int]:
        """Unreadable images that clients left out, by "client N", as far as they told."""
        return {f"client {partition_id}": count for partition_id, count in sorted(self._skipped.items()) if count}

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        """Versions of libraries on the nodes, by client, as far as they told."""
        return {self._name(node): told for node, told in self._versions.items()}

    def set_run(self, run: Run) -> None:
        """Pass on."""
        self.inner.set_run(run)

    @property
    def run(self) -> Run:
        """The inner grid's run."""
        return self.inner.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Pass on."""
        return self.inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that may be asked, in the order of their partition ids where these are known.

        Raises
        ------
        RunError
            If all are quarantined or late: strategies would wait for ever.
        """
        for late in self._stragglers.release(self.inner):
            node = late.metadata.src_node_id
            self._count("up", node, message_bytes(late), 0, late)
            self.log({"event": "late", "client": self._name(node), "bytes": message_bytes(late)})
        nodes = list(self.inner.get_node_ids())
        self._came.update(nodes)
        open_nodes = [node for node in nodes if node not in self._shut_out]
        if nodes and not open_nodes:
            raise RunError(f"every client is quarantined; the last reason: {list(self.quarantined.values())[-1]}")
        open_nodes = [node for node in open_nodes if node not in self._stragglers]
        if nodes and not open_nodes:
            raise RunError("every client that is not quarantined has let a timeout pass and not answered since")
        if len(self._names) < len(nodes) and simulated_by_ray(self.inner):
            self._names = registration_order(self.inner)
        last = self.gate.clients
        return sorted(open_nodes, key=lambda n: (self.partition_ids.get(n, self._names.get(n, last)), n))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to open nodes, remembering them for `pull_messages`."""
        sent = self._open(messages)
        ids = list(self.inner.push_messages(sent))
        self._pending.update(zip(ids, sent, strict=True))
        self._count_down(sent)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the sound replies among those that have arrived."""
        replies = list(self.inner.pull_messages(message_ids))
        sent = [self._pending.pop(reply.metadata.reply_to_message_id, None) for reply in replies]
        received = [Reply(reply, message_bytes(reply)) for reply in replies]
        return self._admit([message for message in sent if message], received).messages

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages to open nodes and return the sound replies; `timeout` in seconds.

        Raises
        ------
        RunError
            If all clients were asked to train, or for the first time to send prompts, and none gave a sound reply, or
            if a part of them was and none did for `EMPTY_ROUNDS` rounds: Flower's own strategies would go on and end
            "successfully" without a model. If fewer than `quorum` did.
        """
        sent = self._open(messages)
        if not sent:
            return []
        there = set(self.get_node_ids())
        for node in sorted(self._came - self._shut_out - there):  # strategies see only who can be asked
            why = "not asked, it has yet to answer earlier" if node in self._stragglers else "not connected"
            self._fail(node, why, _server_round(sent[0]))
        everyone = len(sent) == len(there)
        kind, number, began = sent[0].metadata.message_type, _server_round(sent[0]), time.monotonic()
        if kind == "query.prompts" and self._prompt_timeout:
            timeout = self._prompt_timeout

        def told(nodes: Sequence[int], of: int) -> None:
            self._waiting(kind, number, len(nodes), of, [self._name(node) for node in nodes[:_SHOWN]])

        averages = self.averages and kind.startswith("train")
        with self.ledger.phase("clients"):
            sent, replies = self._collector.collect(sent, number, timeout, self._shut_out, told)
            came = self._admit(sent, replies, self._mean(sent) if averages else None)
        answered, reason = came.answered, came.reason
        if self._deployed:
            event = {"event": "answers", "asked": kind, "round": number, "of": len(sent), "came": len(answered)}
            self.log({**event, "seconds": round(time.monotonic() - began, 3)})
        for message in sent:
            if (node := message.metadata.dst_node_id) not in answered:
                self._fail(node, "no reply in time", number)
        self._count_down(sent)  # after the replies, by which a node's partition id, its name in the ledger, is known
        if kind.startswith("train") or (kind == "query.prompts" and number == 0):
            self._empty = self._empty + 1 if reason else 0
            away = kind.startswith("train") and SIMULATED in reason  # by chance all at once: the next round may do
            if reason and ((everyone and not away) or self._empty >= EMPTY_ROUNDS):
                who = f"none of {len(sent)} clients" if everyone else f"in {self._empty} rounds none that was asked"
                raise RunError(f"round {number}: {who} gave a usable reply; the last one {reason}")
            if came.count < (least := min(self._quorum, len(sent))):
                raise RunError(f"round {number}: {came.count} usable replies came, min-clients = {least} are needed")
        # Flower's loop keeps what it was given for another round: of an iterator nothing is left once it is read.
        return iter(came.messages) if averages else came.messages

    def snapshot(self) -> dict[str, Any]:
        """Return as JSON what the grid knows of the clients."""
        return {
            "quarantined": self.quarantined,
            "shut_out": sorted(self._shut_out),
            "partition_ids": list(self.partition_ids.items()),
            "skipped": list(self._skipped.items()),
            "failures": self._failures.snapshot(),
            "empty": self._empty,
        }

    def restore(self, known: Mapping[str, Any]) -> None:
        """Know what `snapshot` returned, and nothing else."""
        self.quarantined = dict(known["quarantined"])
        self._shut_out = set(known["shut_out"])
        self.partition_ids = dict(known["partition_ids"])
        self._holders = {partition_id: node for node, partition_id in self.partition_ids.items()}
        self._skipped = dict(known["skipped"])
        self._failures = Failures.of(known["failures"])
        self._empty = known["empty"]

    def payload_of(self, reply: Message) -> PromptPayload | Unchanged:
        """Return what an admitted reply to a prompt round holds, as the gate has decoded it; once."""
        return self._payloads.pop(reply.metadata.src_node_id)

    def _open(self, messages: Iterable[Message]) -> list[Message]:
        closed = self._shut_out
        for message in (messages := list(messages)):
            if self.fixed and "arrays" in message.content:
                message.content.config_records["config"][FIXED_WEIGHTS] = self.fixed
        addressed = [(message.metadata.dst_node_id, message) for message in messages]
        return [message for node, message in addressed if node not in closed and node not in self._stragglers]

    def _mean(self, sent: Sequence[Message]) -> RunningMean:
        """Return the mean of what the answers to these messages will be, none of which has come."""
        start = sent[0].content.array_records["arrays"]
        return RunningMean(start, most=len(sent) * self.gate.max_examples)

    def _admit(self, sent: Sequence[Message], replies: Iterable[Reply], mean: RunningMean | None = None) -> "_Came":
        """Judge replies as they come; of the sound ones that carry weight keep all, or nothing but their mean."""
        requests = {message.metadata.dst_node_id: message for message in sent}
        sound, answered = list[tuple[int, Message]](), set[int]()
        weightless, reason = 0, "gave no reply in time"
        for reply in replies:
            answered.add(reply.node)
            message = requests.pop(reply.node, None)
            if message is None:
                continue  # nobody asked, or a second answer
            outcome = self._judge(message, reply.message, reply.size)
            if isinstance(outcome, str):
                reason = outcome
            elif outcome is None:
                weightless += 1
            elif mean is None:
                sound.append((outcome, reply.message))
            else:
                mean.add(reply.message.content)
                reply.message.content = RecordDict()  # whoever still holds the message holds no model
                sound = [(outcome, reply.message)]
        count = len(sound) if mean is None else mean.count
        if mean is not None and sound:
            sound[0][1].content = mean.content()
            log(INFO, "the mean of %d replies, taken as they came, stands for them:", count)
        admitted = [reply for _, reply in sorted(sound, key=lambda pair: pair[0])]
        return _Came(admitted, count, answered, "" if count or weightless else reason)

    def _judge(self, message: Message, reply: Message, size: int) -> int | str | None:
        """Return the partition of a sound reply, the reason why it is none, or None if it carries no weight."""
        node, server_round = reply.metadata.src_node_id, _server_round(message)
        if reply.has_error():
            text = reply.error.reason or f"error {reply.error.code}"
            if self.errors is not None:
                partition_id, text = self.errors.take(text)
                if partition_id is not None:
                    self._names[node] = partition_id
            if not text.startswith(SIMULATED):  # who is away sends nothing
                self._count("up", node, size, server_round, reply)
            return self._fail(node, text, server_round)
        outcome = self.gate.check(message.metadata.message_type, reply, message.content)
        if not isinstance(outcome, Rejection) and (partition_id := outcome.partition_id) is not None:
            if self.partition_ids.get(node, partition_id) != partition_id:
                outcome = Rejection(f"it held partition {self.partition_ids[node]}, now it claims {partition_id}")
            elif (holder := self._holders.setdefault(partition_id, node)) != node and not self._left(holder):
                outcome = Rejection(f"it claims partition {partition_id}, which another client holds")
            else:
                self._holders[partition_id] = node
                self.partition_ids[node] = partition_id
                if outcome.skipped is not None:
                    self._skipped[partition_id] = outcome.skipped
        self._count("up", node, size, server_round, reply)
        if isinstance(outcome, Rejection):
            return self._quarantine(node, outcome.reason, server_round)
        if outcome.payload is not None:
            self._payloads[node] = outcome.payload
        if told := outcome.content.config_records.get("versions"):
            self._versions[node] = {name: str(version) for name, version in told.items()}
        reply.content = outcome.content
        return None if outcome.num_examples == 0 else outcome.partition_id

    def _left(self, node: int) -> bool:
        """Return whether a sound client is gone: without registered keys it comes back under another number."""
        return node not in self._shut_out and node not in set(self.inner.get_node_ids())

    def _count_down(self, sent: list[Message]) -> None:
        sizes: dict[int, int] = {}  # of contents: most messages of a round share one
        for message in sent:
            content = id(message.content)
            if content not in sizes:
                sizes[content] = message_bytes(message)
            self._count("down", message.metadata.dst_node_id, sizes[content], _server_round(message), message)

    def _count(self, direction: Direction, node: int, size: int, server_round: int, message: Message) -> None:
        if self.metered:
            self.ledger.count(direction, self._name(node), size, server_round)
            if self._deployed:
                self.ledger.request(self._name(node), message_objects(message))

    def _quarantine(self, node: int, reason: str, server_round: int) -> str:
        self._shut_out.add(node)
        self.quarantined[self._name(node)] = reason
        self.log({"event": "quarantine", "client": self._name(node), "reason": reason, "round": server_round})
        return f"was refused: {reason}"

    def _fail(self, node: int, reason: str, server_round: int) -> str:
        # A traceback ends with its point; the rest may be a stranger's pages of text, or escape codes for a terminal.
        lines = reason.strip().splitlines() or ["no reason given"]
        line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
        reason = "".join(c if c.isprintable() else "?" for c in line[:300])
        self._failures.add(node, reason, server_round)
        self.log({"event": "failure", "client": self._name(node), "reason": reason, "round": server_round})
        return f"failed: {reason}"

    def _name(self, node: int) -> str:
        partition_id = self.partition_ids.get(node, self._names.get(node))
        return f"node {node}" if partition_id is None else str(partition_id)


@dataclass(frozen=True)
class _Came:
    """What came of a question: `messages` for the strategy, that stand for `count` sound replies that carry weight.

    `answered` are all nodes that replied in whatever way, `reason` is why there is no sound reply, "" if there is.
    """

    messages: list[Message]
    count: int
    answered: set[int]
    reason: str


def _server_round(message: Message) -> int:
    """Return the round that a message of ours names; 0 is the round before federated training."""
    for record in message.content.values():
        if isinstance(record, ConfigRecord) and "server-round" in record:
            return int(record["server-round"])  # type: ignore[arg-type]
    return 0
