"""Accounts: hand-computed sums."""

import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fgl_flower.records.ledger import Ledger
from fgl_flower.wire.sizes import message_bytes, message_objects, object_bytes

TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1


def test_bytes_by_client_round_and_in_total() -> None:
    ledger = Ledger(clients=4)
    ledger.count("down", "0", 100, server_round=1)
    ledger.count("up", "0", 30, server_round=1)
    ledger.count("up", "1", 50, server_round=2)
    ledger.once("0", "captioner", 1000)
    ledger.once("0", "captioner", 1000)  # a model is downloaded once
    ledger.once("1", "captioner", 1000)
    figures = ledger.to_dict()
    assert figures["bytes_up_per_client"] == (30 + 50) / 4
    assert figures["bytes_down_per_client"] == 100 / 4
    assert figures["bytes_once_per_client"] == 2000 / 4
    assert figures["bytes_total"] == 30 + 50 + 100 + 2000
    assert figures["bytes_by_round"] == [{"round": 1, "up": 30, "down": 100}, {"round": 2, "up": 50, "down": 0}]
    assert figures["bytes_by_client"] == {
        "0": {"up": 30, "down": 100, "once": 1000, "requests": 0},
        "1": {"up": 50, "down": 0, "once": 1000, "requests": 0},
    }


def test_requests_are_counted_and_outlive_a_resumed_run() -> None:
    ledger = Ledger(clients=4)
    ledger.count("down", "0", 100, server_round=0)
    ledger.request("0", 8)
    ledger.request("1", 3)
    ledger.request("0", 1)
    again = Ledger(clients=4)
    again.restore(ledger.snapshot())
    for one in (ledger, again):
        assert one.result_fields()["requests_per_client"] == 12 / 4
        assert one.to_dict()["bytes_by_client"]["0"]["requests"] == 9


def test_each_object_of_a_message_is_a_request() -> None:
    arrays = ArrayRecord({"a": Array(np.zeros(3)), "b": Array(np.ones(3))})
    message = Message(RecordDict({"arrays": arrays, "config": ConfigRecord({"n": 1})}), 1, "train")
    assert message_objects(message) == 8  # the message, its records' dict, two records, two arrays, a chunk of each


def test_inner_phases_stop_the_outer_clock() -> None:
    ledger = Ledger(clients=1)
    with ledger.measuring(), ledger.phase("outer"):
        time.sleep(0.02)
        with ledger.phase("inner"):
            time.sleep(0.2)
    seconds = ledger.result_fields()["seconds"]
    assert 0.2 <= seconds["inner"] <= seconds["total"]
    assert 0.02 <= seconds["outer"] < seconds["inner"]
    assert seconds["outer"] + seconds["inner"] == pytest.approx(seconds["total"], abs=0.1)


def test_a_phase_that_fails_is_still_timed_and_closed() -> None:
    ledger = Ledger(clients=1)
    with pytest.raises(ValueError, match="boom"), ledger.phase("broken"):
        raise ValueError("boom")
    with ledger.phase("next"):
        pass
    assert set(ledger.result_fields()["seconds"]) == {"broken", "next"}


def test_peak_memory_sees_an_allocation() -> None:
    ledger = Ledger(clients=1)
    with ledger.measuring(interval=0.01):
        block = np.ones(25_000_000)  # 200 MB, touched
        time.sleep(0.1)
        del block
    assert ledger.result_fields()["peak_memory_bytes"] > 200_000_000


def test_message_bytes_hold_the_data_and_little_more() -> None:
    array = Array(np.arange(10_000, dtype=np.float32))
    message = Message(RecordDict({"arrays": ArrayRecord({"w": array})}), 5, "train")
    assert len(array.data) < message_bytes(message) < len(array.data) + 1500
    with_config = Message(RecordDict({"c": ConfigRecord({"x": b"1" * 500})}), 5, "train")
    assert message_bytes(with_config) - object_bytes(with_config.content) > 0
