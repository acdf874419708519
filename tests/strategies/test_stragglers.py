"""Clients that do not answer in time: waited for once, asked again once they have answered; quorum."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fgl_flower.errors import RunError
from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import _ensure_identity
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid

NODES = [11, 22, 33]
GLOBAL = ArrayRecord({"w": Array(np.zeros(2, np.float32))})


class SlowGrid(Grid):
    """A grid as a SuperLink's: messages are pushed, replies pulled; nodes in `hung` do not answer until they wake."""

    def __init__(self) -> None:
        _ensure_identity()
        self.nodes = list(NODES)
        self.hung: set[int] = set()
        self.broken: set[int] = set()
        self.mail: dict[str, Message] = {}
        self.asked: list[int] = []

    def set_run(self, run: Run) -> None: ...

    @property
    def run(self) -> Run:
        return Run.create_empty(run_id=TaskIdentity.run_id)

    def create_message(self, *args: Any, **options: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return self.nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            ids.append(f"{len(self.asked):064x}")
            self.asked.append(message.metadata.dst_node_id)
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.mail[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = [i for i in message_ids if i in self.mail and self.mail[i].metadata.dst_node_id not in self.hung]
        return [self._answer(self.mail.pop(i)) for i in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("replies are taken as they come")

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if node in self.broken:  # as Flower does: from the server itself, which is node 1
            lost = Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, "objects are unavailable"), reply_to=message)
            lost.metadata.__dict__["_src_node_id"] = 1
            return lost
        number = NODES.index(node) if node in NODES else 1
        metrics = MetricRecord({"num-examples": 4, "partition-id": number, "loss": 1.0})
        return Message(RecordDict({"arrays": GLOBAL, "metrics": metrics}), reply_to=message)


def round_of(grid: GuardedGrid, number: int, timeout: float = 0.3) -> list[int]:
    content = RecordDict({"arrays": GLOBAL, "config": ConfigRecord({"server-round": number})})
    messages = [Message(content, node, "train") for node in grid.get_node_ids()]
    return [reply.metadata.src_node_id for reply in grid.send_and_receive(messages, timeout=timeout)]


def guarded(**options: Any) -> tuple[GuardedGrid, SlowGrid]:
    inner = SlowGrid()
    return GuardedGrid(inner, Gate(GLOBAL, 3, ()), Ledger(3), lambda event: None, **options), inner


def test_a_straggler_costs_its_timeout_once_and_comes_back_with_its_late_answer() -> None:
    grid, inner = guarded()
    inner.hung = {22}
    assert round_of(grid, 1) == [11, 33]
    assert round_of(grid, 2, timeout=60) == [11, 33]  # were it waited for, the test would take a minute
    assert inner.asked.count(22) == 1
    inner.hung = set()
    assert round_of(grid, 3, timeout=60) == [11, 22, 33]  # its answer of round 1 has come, and is no answer of round 3
    assert inner.asked.count(22) == 2
    up = {name: client["up"] for name, client in grid.ledger.to_dict()["bytes_by_client"].items()}
    assert up["node 22"] == up["1"] == up["0"] / 3, "the late answer counts, too"
    failures = {failure.reason: failure.rounds for failure in grid.failures}
    assert failures == {"no reply in time": [1], "not asked, it has yet to answer earlier": [2]}


def test_when_all_are_late_the_run_ends_with_a_sentence() -> None:
    grid, inner = guarded()
    inner.hung = set(NODES)
    with pytest.raises(RunError, match="none of 3 clients gave a usable reply"):
        round_of(grid, 1)
    with pytest.raises(RunError, match="has let a timeout pass"):
        round_of(grid, 2)


@pytest.mark.parametrize(("quorum", "passes"), [(1, True), (2, True), (3, False)])
def test_a_round_needs_a_quorum(quorum: int, passes: bool) -> None:
    grid, inner = guarded(quorum=quorum)
    inner.hung = {22}
    if passes:
        assert round_of(grid, 1) == [11, 33]
        return
    with pytest.raises(RunError, match="2 usable replies came, min-clients = 3 are needed"):
        round_of(grid, 1)


def test_a_prompt_round_has_a_timeout_of_its_own() -> None:
    grid, inner = guarded(prompt_timeout=0.2)
    inner.hung = set(NODES)
    message = Message(RecordDict({"config": ConfigRecord({"server-round": 1})}), 11, "query.prompts")
    assert list(grid.send_and_receive([message], timeout=3600)) == []


def test_a_reply_that_is_not_there_whole_is_its_nodes_failure() -> None:
    grid, inner = guarded()
    inner.broken = {33}
    assert round_of(grid, 1) == [11, 22]
    assert [(one.client, one.reason) for one in grid.failures] == [("node 33", "objects are unavailable")]


def test_flower_waits_no_two_hours_for_the_parts_of_a_reply() -> None:
    from flwr.superlink.grid import http_grid

    assert http_grid.pull_objects.keywords == {"max_time": 60.0}  # type: ignore[attr-defined]


def test_a_client_may_come_back_under_another_number_once_the_old_one_is_gone() -> None:
    grid, inner = guarded()
    assert round_of(grid, 1) == NODES
    inner.nodes = [11, 22, 33, 44]  # claims the partition of 22, which is there
    assert round_of(grid, 2) == NODES
    assert list(grid.quarantined.values()) == ["it claims partition 1, which another client holds"]
    inner.nodes = [11, 33, 55]
    assert round_of(grid, 3) == [11, 55, 33]
