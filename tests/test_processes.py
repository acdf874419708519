"""Clients in forked processes answer as they do in one, and a process that dies costs one reply."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fgl_flower.processes import can_fork
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.npy import array_of, values

pytestmark = pytest.mark.skipif(not can_fork("cpu"), reason="forks are for Linux")


def app() -> ClientApp:
    """Clients that add to what they have kept; the third raises, the fourth is silent, the fifth dies once."""
    result = ClientApp()

    @result.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        config = message.content.config_records["config"]
        if number == 2:
            raise ValueError("client two is ill")
        if number == 3:
            return None  # type: ignore[return-value]
        if number == 4 and config["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        before = context.state.array_records["sum"]["x"] if "sum" in context.state else array_of(np.zeros(3))
        total = values(before) + values(message.content.array_records["arrays"]["x"])
        context.state["sum"] = ArrayRecord({"x": array_of(total)})
        content = {"arrays": ArrayRecord({"x": array_of(total)}), "m": MetricRecord({"pid": os.getpid()})}
        return Message(RecordDict(content), reply_to=message)

    return result


@pytest.fixture
def grid() -> Iterator[InlineGrid]:
    made = InlineGrid(app(), 6, {}, workers=2, forked=True)
    yield made
    made.close()


def ask(grid: InlineGrid, *, die: bool = False) -> dict[int, Message]:
    content = RecordDict({"arrays": ArrayRecord({"x": array_of(np.ones(3))}), "config": ConfigRecord({"die": die})})
    replies = grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()])
    return {grid.partition_ids[reply.metadata.src_node_id]: reply for reply in replies}


def test_state_errors_and_silence_are_those_of_clients_in_this_process(grid: InlineGrid) -> None:
    alone = InlineGrid(app(), 6, {})
    for turn in (1, 2):
        forked, here = ask(grid), ask(alone)
        assert set(forked) == set(here) == {0, 1, 2, 4, 5}
        for number in (0, 1, 4, 5):
            for replies in (forked, here):
                assert values(replies[number].content.array_records["arrays"]["x"]).tolist() == [turn] * 3
            assert forked[number].metadata.reply_to_message_id == here[number].metadata.reply_to_message_id
        assert "client two is ill" in (forked[2].error.reason or "")
        assert forked[2].error.code == here[2].error.code
    states = {grid.partition_ids[node]: state for node, state in grid.states().items()}
    assert set(states) == {0, 1, 4, 5}
    assert values(states[5].array_records["sum"]["x"]).tolist() == [2, 2, 2]


def test_two_processes_that_are_not_this_one_do_the_work(grid: InlineGrid) -> None:
    pids = {int(reply.content["m"]["pid"]) for reply in ask(grid).values() if not reply.has_error()}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    grid.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_process_that_dies_is_one_error_and_is_replaced(grid: InlineGrid) -> None:
    replies = ask(grid, die=True)
    assert "died (SIGKILL)" in (replies[4].error.reason or "")
    assert {n for n, reply in replies.items() if not reply.has_error()} == {0, 1, 5}
    again = ask(grid)
    assert values(again[4].content.array_records["arrays"]["x"]).tolist() == [1, 1, 1]  # what was kept before it died
    assert values(again[0].content.array_records["arrays"]["x"]).tolist() == [2, 2, 2]


def test_processes_do_not_outlive_the_one_that_forked_them() -> None:
    code = """
import os, time
from tests.test_processes import app, ask
from fgl_flower.simulation import InlineGrid
grid = InlineGrid(app(), 6, {}, workers=2, forked=True)
replies = ask(grid)
print(*{int(r.content["m"]["pid"]) for r in replies.values() if not r.has_error()}, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("early", "read"), [(True, 0), (False, 1)])
def test_early_processes_begin_before_this_one_loads_what_clients_are_queried_for(early: bool, read: int) -> None:
    loaded: list[str] = []
    result = ClientApp()

    @result.query("prompts")
    def query(message: Message, context: Context) -> Message:
        loaded[:] = ["a captioner"]
        return Message(RecordDict(), reply_to=message)

    @result.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        measured = MetricRecord({"loaded": len(loaded), "pid": os.getpid()})
        return Message(RecordDict({"m": measured}), reply_to=message)

    made = InlineGrid(result, 2, {}, workers=2, forked=True, early=early)
    try:
        for kind in ("query.prompts", "evaluate"):
            replies = made.send_and_receive([Message(RecordDict(), node, kind) for node in made.get_node_ids()])
    finally:
        made.close()
    told = [reply.content.metric_records["m"] for reply in replies]
    assert [one["loaded"] for one in told] == [read, read]
    assert os.getpid() not in {one["pid"] for one in told}
    assert loaded == ["a captioner"]
