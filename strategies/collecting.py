"""Asking clients and collecting what they answer: on disk as it comes, and what an earlier process was told first."""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from fgl_flower.wire.sizes import message_bytes
from strategies.resume.state import RunState
from strategies.streaming import Stragglers, replies_of, simulated_by_ray

MEMORY = 2**26  # bytes of replies that may wait in the memory of a simulation
AT_ONCE = 4  # messages on their way in any case

Told = Callable[[Sequence[int], int], None]
"""(nodes that have answered, number that was asked) -> None, with each reply."""


@dataclass(frozen=True)
class Reply:
    """A reply with the bytes of its message: one that is made anew from the disk differs in its ids."""

    message: Message
    size: int

    @property
    def node(self) -> int:
        """Who sent it."""
        return int(self.message.metadata.src_node_id)


class Collector:
    """Asks and collects.

    Parameters
    ----------
    grid : Grid
        Leads to the clients.
    stragglers : Stragglers
        Receives who lets a timeout pass.
    state : RunState, optional
        Keeps replies; nobody is asked for one that it has.
    keep_training : bool
        Whether replies to training are kept, too.
    """

    def __init__(self, grid: Grid, stragglers: Stragglers, state: RunState | None, *, keep_training: bool) -> None:
        self.grid = grid
        self.stragglers = stragglers
        self.state = state
        self.keep_training = keep_training
        self._calls: Counter[str] = Counter()

    def collect(
        self, messages: Sequence[Message], server_round: int, timeout: float | None, closed: Container[int], told: Told
    ) -> tuple[list[Message], Iterator[Reply]]:
        """Return the messages and, as they come, the replies to them, of nodes that are gone since, too.

        Parameters
        ----------
        messages : sequence of Message
            One a node, all of one kind and round.
        server_round : int
        timeout : float, optional
            Seconds.
        closed : container of int
            Nodes whose earlier replies do not count.
        told : Told
        """
        kind = messages[0].metadata.message_type
        self._calls[f"{kind}-{server_round}"] += 1
        call = f"{kind}-{server_round}-{self._calls[f'{kind}-{server_round}']}"
        kept = self.state.replies(call) if self.state else {}
        asked = {message.metadata.dst_node_id: message for message in messages}
        for node in kept:
            if node not in closed:
                asked.setdefault(node, Message(messages[0].content, node, kind))
        waiting = [message for message in messages if message.metadata.dst_node_id not in kept]

        def replies() -> Iterator[Reply]:
            nodes = [node for node in kept if node not in closed]
            told(nodes, len(asked))
            for node in nodes:
                content, size = kept.pop(node)
                yield Reply(Message(content, reply_to=asked[node]), size)
            most = (
                max(AT_ONCE, MEMORY // message_bytes(waiting[0])) if waiting and simulated_by_ray(self.grid) else None
            )
            for message in replies_of(self.grid, waiting, timeout, self.stragglers, most):
                reply = Reply(message, message_bytes(message))
                if self.state and not message.has_error() and (self.keep_training or not kind.startswith("train")):
                    self.state.keep(call, reply.node, message.content, reply.size)
                nodes.append(reply.node)
                told(nodes, len(asked))
                yield reply

        return list(asked.values()), replies()
