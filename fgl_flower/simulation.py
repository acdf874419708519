"""`InlineGrid`: a federation inside the calling process.

Flower's own simulation starts a Ray cluster: right for many cores, 10 s of start-up for a two-second run. This grid
calls the `ClientApp` directly, with the same messages, contexts and error replies, so the same apps run in tests and
small runs unchanged. It is deterministic: node ids depend on nothing but the number of clients, and
clients know nothing of each other.
"""

import hashlib
import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import MappingProxyType
from typing import cast

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fgl_flower.processes import Processes
from fgl_flower.wire.sizes import message_bytes

UserConfig = Mapping[str, bool | float | int | str]

_PARALLEL = ("train", "evaluate")  # messages that are answered side by side
_LARGE = 2**22  # bytes of a message


class InlineGrid(Grid):
    """Flower's `Grid`, run in-process.

    Parameters
    ----------
    client_app : ClientApp
        Answers every message; one that raises answers with an error reply, one that returns None not at all,
        both as in Flower.
    num_clients : int
        Clients; client i has ``partition-id`` i and ``num-partitions`` `num_clients` in its node config.
    run_config : mapping
        What clients see as ``context.run_config``.
    node_configs : mapping of int to mapping, optional
        Further node-config entries by partition id.
    workers : int
        Clients that train or evaluate at the same time. Other messages are answered one after the other, in this
        process, as captioners and generators take all of the machine.
    forked : bool
        Whether those clients live in processes of their own (`fgl_flower.processes`), else in threads, of which torch's
        operators let others run meanwhile.
    early : bool
        Whether those processes start with the first message of any kind, not with the first to clients that train or
        evaluate: before this process loads captioners and generators, whose memory would seem to be theirs, too. They
        then lack what it reads of the clients' images meanwhile.

    Attributes
    ----------
    partition_ids : dict of int to int
        The partition id of each node.

    Notes
    -----
    Each client keeps its ``context.state`` from message to message. A client receives copies of the records (the
    arrays' bytes are shared), so that what it changes reaches neither the server nor another client. The timeout is
    checked when a client begins: a running one is never interrupted, those after it give no reply. No more than
    ``workers + 1`` replies wait for their reader, of large ones no more than ``workers``.
    """

    def __init__(
        self,
        client_app: ClientApp,
        num_clients: int,
        run_config: UserConfig,
        node_configs: Mapping[int, UserConfig] | None = None,
        *,
        workers: int = 1,
        forked: bool = False,
        early: bool = False,
    ) -> None:
        if num_clients < 1:
            raise ValueError(f"num_clients = {num_clients}: a federation has at least one client")
        _ensure_identity()
        self._app = client_app
        # One for all clients, 50 MB for ten thousand of them, which none of them can change.
        self._run_config = cast("dict[str, bool | float | int | str]", MappingProxyType(dict(run_config)))
        self._num_clients = num_clients
        self._node_configs = node_configs or {}
        self._workers = workers
        self._forked = forked
        self._early = early
        self._processes: Processes | None = None
        self._seconds: dict[int, float] = {}  # that a node's last answer took
        self.partition_ids = {_node_id(partition_id): partition_id for partition_id in range(num_clients)}
        self._contexts: dict[int, Context] = {}
        self._run = Run.create_empty(run_id=TaskIdentity.run_id)
        self._replies: dict[str, Message] = {}
        self._sent = 0

    def set_run(self, run: Run) -> None:
        """Set the run that `run` returns."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid belongs to (an empty one unless set)."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a new message to a node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids, in the order of their partition ids."""
        return list(self.partition_ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver messages at once and keep the replies for `pull_messages`; return the messages' ids."""
        ids = []
        for message_id, reply in self._deliver(messages, timeout=None):
            ids.append(message_id)
            if reply is not None:
                self._replies[message_id] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, each once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Deliver messages and return the replies; `timeout` in seconds."""
        return list(self.stream(messages, timeout))

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        """Deliver messages and yield each reply as it comes; `timeout` in seconds."""
        for _, reply in self._deliver(messages, timeout):
            if reply is not None:
                yield reply

    def _deliver(self, messages: Iterable[Message], timeout: float | None) -> Iterator[tuple[str, Message | None]]:
        messages = list(messages)
        kinds = {message.metadata.message_type for message in messages}
        many = self._workers > 1 and bool(kinds)
        parallel = many and all(kind.startswith(_PARALLEL) for kind in kinds)
        if (parallel or (many and self._early)) and self._forked and self._processes is None:
            self._processes = Processes(self._workers, self._called)
        deadline = None if timeout is None else time.monotonic() + timeout

        def answer(message_id: str, message: Message) -> Message | None:
            in_time = deadline is None or time.monotonic() < deadline
            return self._answer(message_id, message) if in_time else None

        numbered = []
        for message in messages:
            self._sent += 1
            numbered.append((f"{self._sent:064x}", message))  # an id as long as Flower's own
        if parallel:
            yield from self._side_by_side(answer, numbered)
        else:
            for message_id, message in numbered:
                yield message_id, answer(message_id, message)

    def close(self) -> None:
        """End the processes of clients, if there are any."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    def _side_by_side(
        self, answer: Callable[[str, Message], Message | None], numbered: Sequence[tuple[str, Message]]
    ) -> Iterator[tuple[str, Message | None]]:
        """Yield ids and answers as they come; who took longest the last time begins first, so that nobody waits."""

        def timed(message_id: str, message: Message) -> tuple[str, Message | None]:
            began = time.monotonic()
            reply = answer(message_id, message)
            self._seconds[message.metadata.dst_node_id] = time.monotonic() - began
            return message_id, reply

        waiting = deque(sorted(numbered, key=lambda pair: -self._seconds.get(pair[1].metadata.dst_node_id, math.inf)))
        running: set[Future[tuple[str, Message | None]]] = set()
        # One is at hand while the reader is busy with an answer, unless it is large: then the reader's memory counts.
        more = 1 if numbered and message_bytes(numbered[0][1]) < _LARGE else 0
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="client")
        try:
            while waiting or running:
                while waiting and len(running) < self._workers + more:
                    running.add(pool.submit(timed, *waiting.popleft()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:  # after an interrupt, too, when no further client begins
            pool.shutdown(wait=False, cancel_futures=True)

    def states(self) -> dict[int, RecordDict]:
        """Return what clients keep from message to message, by node, of those who keep anything."""
        return {node: context.state for node, context in self._contexts.items() if len(context.state)}

    def restore_states(self, states: Mapping[int, RecordDict]) -> None:
        """Give clients what they kept in an earlier process."""
        for node, state in states.items():
            self._context(node).state = state

    def _answer(self, message_id: str, message: Message) -> Message | None:
        node_id = message.metadata.dst_node_id
        copy = Message(
            RecordDict({name: record.copy() for name, record in message.content.items()}),
            node_id,
            message.metadata.message_type,
            ttl=message.metadata.ttl,
            group_id=message.metadata.group_id,
        )
        for one in (message, copy):  # as Flower's own grid does: the property has no setter
            one.metadata.__dict__["_message_id"] = message_id
        if node_id not in self.partition_ids:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, f"there is no node {node_id}"), reply_to=copy)
        context = self._context(node_id)
        if self._processes is not None and copy.metadata.message_type.startswith(_PARALLEL):
            reply, context.state = self._processes.ask(copy, context.state)
        else:
            reply, context.state = self._called(copy, context.state)
        return reply

    def _called(self, message: Message, kept: RecordDict) -> tuple[Message | None, RecordDict]:
        """Return what a client answers, and what it then keeps."""
        context = self._context(message.metadata.dst_node_id)
        context.state = kept
        try:
            return self._app(message, context), context.state
        except Exception as error:  # a client's failure is the client's reply, whatever it is
            reason = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message), context.state

    def _context(self, node_id: int) -> Context:
        if node_id not in self._contexts:
            partition_id = self.partition_ids[node_id]
            self._contexts[node_id] = Context(
                run_id=self._run.run_id,
                node_id=node_id,
                node_config={
                    "partition-id": partition_id,
                    "num-partitions": self._num_clients,
                    **self._node_configs.get(partition_id, {}),
                },
                state=RecordDict(),
                run_config=self._run_config,
            )
        return self._contexts[node_id]


def _node_id(partition_id: int) -> int:
    """Return a 63-bit id: as long as Flower's own on the wire, and never mistaken for a partition id."""
    return int.from_bytes(hashlib.blake2b(str(partition_id).encode(), digest_size=8).digest()) >> 1


def _ensure_identity() -> None:
    """Give this process a task identity, without which Flower 1.41 creates no message, unless it has one."""
    try:
        _ = TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id
    except RuntimeError:
        TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
