"""Replies as they come, whatever grid leads to the clients."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from flwr.app import Message
from flwr.serverapp import Grid

from fgl_flower.simulation import InlineGrid

_OBJECTS = 60.0  # seconds for the parts of a reply that is announced
with suppress(ImportError, AttributeError):
    # A node whose upload broke off has announced a reply that never comes whole. Flower 1.41 waits two hours for it,
    # and for all other replies behind it; with this the reply becomes an error.
    from flwr.superlink.grid import http_grid

    http_grid.pull_objects = partial(http_grid.pull_objects, max_time=_OBJECTS)

_FIRST, _LONGEST = 0.3, 2.0  # seconds between two looks: Flower's own 3 s are much of a short round
_SHORT = 0.02  # seconds, where the next message waits for a reply


def simulated_by_ray(grid: Grid) -> bool:
    """Return whether the clients are those of Flower's simulation, which answer into this process' memory."""
    return type(grid).__name__ == "InMemoryGrid"


def registration_order(grid: Grid) -> dict[int, int]:
    """Return the place of each node of a simulation: Flower registers its nodes one by one, partition 0 first.

    Their numbers are random; without this another client would be sampled in each run.
    """
    nodes = sorted(grid.get_nodes(), key=lambda node: node.registered_at)
    return {node.node_id: place for place, node in enumerate(nodes)}


class Stragglers:
    """Nodes that let a timeout pass, and the messages that they have yet to answer: they are not waited for twice."""

    def __init__(self) -> None:
        self._owed: dict[int, str] = {}  # message id by node

    def __contains__(self, node: int) -> bool:
        return node in self._owed

    def add(self, node: int, message_id: str) -> None:
        """Note that a node has not answered in time."""
        self._owed[node] = message_id

    def release(self, grid: Grid) -> list[Message]:
        """Return the late answers that have come; who sent one is no straggler any more and may be asked again."""
        if not self._owed:
            return []
        nodes = {message_id: node for node, message_id in self._owed.items()}
        came = list(grid.pull_messages(list(nodes)))
        for reply in came:
            del self._owed[nodes[reply.metadata.reply_to_message_id]]
        return came


def replies_of(
    grid: Grid, messages: Sequence[Message], timeout: float | None, stragglers: Stragglers, most: int | None = None
) -> Iterator[Message]:
    """Send messages and yield each reply as it comes, until all have come or `timeout` seconds are over.

    Who has not answered by then is among the `stragglers` afterwards. No more than `most` messages are on their way at
    a time (None: all are): replies wait in the memory of this process until they are pulled.
    """
    if isinstance(grid, InlineGrid):  # its clients are asked in turn: who is late there never was asked
        yield from grid.stream(messages, timeout)
        return
    deadline = None if timeout is None else time.monotonic() + timeout
    first, longest = (_FIRST, _LONGEST) if most is None else (_SHORT, _FIRST)
    unsent, waiting, pause = deque(messages), dict[str, Message](), first
    while unsent or waiting:
        sent = [unsent.popleft() for _ in range(min(len(unsent), (most or len(messages)) - len(waiting)))]
        if sent:
            waiting |= {i: message for i, message in zip(grid.push_messages(sent), sent, strict=True) if i}
        came = list(grid.pull_messages(list(waiting))) if waiting else []
        while came:
            reply = came.pop(0)  # what is read is held no longer
            message = waiting.pop(reply.metadata.reply_to_message_id)
            # Of a reply that is not there whole Flower says that it came from the server itself.
            yield Message(reply.error, reply_to=message) if reply.has_error() else reply
            pause = 0.0
        if deadline is not None and time.monotonic() > deadline:
            break
        if waiting:
            pause = min(longest, pause * 1.5) or first
            time.sleep(pause)
    for message_id, message in waiting.items():
        stragglers.add(message.metadata.dst_node_id, message_id)
