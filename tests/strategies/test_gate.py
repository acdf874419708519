"""The gate and the guarded grid: hostile replies reach no strategy and end no run."""

import io
import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, FedAvgM, FedMedian
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.errors import RunError
from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload, Rejection
from strategies.gate import Admitted, Gate
from strategies.guarded_grid import GuardedGrid
from tests.guarded import CLIENTS, GLOBAL, arrays, check, constant, federation, metrics, start


def forged(shape: tuple[int, ...], *, data: bytes = b"", header_shape: tuple[int, ...] | None = None) -> Array:
    """Return an array that claims `shape`, with a header of its own and any bytes behind it."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": header_shape or shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return Array("float32", shape, "numpy.ndarray", buffer.getvalue() + data)


def test_a_sound_reply_passes_clipped_and_without_its_partition() -> None:
    outcome = check(RecordDict({"arrays": arrays(), "metrics": metrics(num_examples=500)}), max_examples=100)
    assert isinstance(outcome, Admitted)
    assert (outcome.partition_id, outcome.num_examples) == (1, 100)
    assert dict(outcome.content["metrics"]) == {"num-examples": 100, "loss": 0.5}
    assert outcome.content["arrays"] == arrays()


NAN = np.full((2, 3), np.nan, np.float32)
HUGE = (2**20, 2**20, 8)  # 32 TiB of float32
BAD_ARRAYS = {
    "nan": arrays(w=Array(NAN)),
    "infinity": arrays(w=Array(np.full((2, 3), np.inf, np.float32))),
    "other shape": arrays(w=Array(np.zeros((3, 2), np.float32))),
    "other dtype": arrays(w=Array(np.zeros((2, 3), np.float64))),
    "other name": ArrayRecord({"v": GLOBAL["w"], "b": GLOBAL["b"]}),
    "missing": ArrayRecord({"w": GLOBAL["w"]}),
    "extra": arrays(x=GLOBAL["w"]),
    "other order": ArrayRecord({"b": GLOBAL["b"], "w": GLOBAL["w"]}),
    "other serialisation": arrays(w=Array("float32", (2, 3), "pickle", b"cos\nsystem\n.")),
    "declared shape lies": arrays(w=forged(HUGE)),
    "header lies": arrays(w=forged((2, 3), header_shape=HUGE)),
    "header lies, right length": arrays(w=forged((2, 3), header_shape=(3, 2), data=bytes(24))),
    "cut short": arrays(w=forged((2, 3), data=bytes(20))),
    "tail": arrays(w=forged((2, 3), data=bytes(28))),
    "no npy": arrays(w=Array("float32", (2, 3), "numpy.ndarray", bytes(152))),
    "empty": arrays(w=Array("float32", (2, 3), "numpy.ndarray", b"")),
}


@pytest.mark.parametrize("fault", BAD_ARRAYS)
def test_bad_arrays_are_refused(fault: str) -> None:
    assert isinstance(check(RecordDict({"arrays": BAD_ARRAYS[fault], "metrics": metrics()})), Rejection)


BAD_METRICS: list[dict[str, Any]] = [
    {"num_examples": -1},
    {"num_examples": 2**31},
    {"num_examples": 10**18},
    {"num_examples": 1.5},
    {"num_examples": math.nan},
    {"num_examples": [1, 2]},
    {"partition_id": -1},
    {"partition_id": CLIENTS},
    {"partition_id": 0.0},
    {"loss": math.nan},
    {"loss": math.inf},
    {"loss": [0.1]},
    {"more": 1},
]


@pytest.mark.parametrize("changes", BAD_METRICS)
def test_bad_metrics_are_refused(changes: dict[str, Any]) -> None:
    assert isinstance(check(RecordDict({"arrays": arrays(), "metrics": metrics(**changes)})), Rejection)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"arrays": arrays()}),
        RecordDict({"metrics": metrics()}),
        RecordDict({"arrays": metrics(), "metrics": metrics()}),
        RecordDict({"arrays": arrays(), "metrics": metrics(), "more": ConfigRecord()}),
        RecordDict({"weights": arrays(), "metrics": metrics()}),
        RecordDict({"arrays": arrays(), "metrics": MetricRecord({"num-examples": 1})}),
    ],
)
def test_missing_and_extra_records_are_refused(content: RecordDict) -> None:
    assert isinstance(check(content), Rejection)


def test_prompt_replies_are_judged_by_their_decoder() -> None:
    good = PromptPayload(2, (Prompt("a star", "star"),))
    assert isinstance(check(encode(good), "query.prompts"), Admitted)
    assert isinstance(check(encode(PromptPayload(CLIENTS)), "query.prompts"), Rejection)
    assert isinstance(check(encode(PromptPayload(0, (Prompt("x", "tank"),))), "query.prompts"), Rejection)
    assert isinstance(check(encode(good), "query.everything"), Rejection)


# --- the guarded grid ---


def test_a_hostile_client_is_quarantined_and_the_others_go_on() -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        if partition == 4:
            return RecordDict({"arrays": arrays(w=Array(NAN)), "metrics": metrics(partition_id=4)})
        return constant(partition)

    grid, events = federation(answer)
    result = start(grid, rounds=2)
    np.testing.assert_allclose(result["w"].numpy(), (0 + 1 + 2 + 3) / 4)
    assert [(e["event"], e["round"]) for e in events] == [("quarantine", 1)]
    assert "NaN" in events[0]["reason"]
    assert len(grid.quarantined) == 1
    assert len(list(grid.get_node_ids())) == CLIENTS - 1


@pytest.mark.parametrize("strategy", [FedAvg, FedAvgM, FedMedian])
def test_other_strategies_are_protected_too(strategy: type[FedAvg]) -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        return constant(partition) if partition else RecordDict({"metrics": metrics()})

    grid, _ = federation(answer)
    result = start(grid, strategy=strategy)
    np.testing.assert_allclose(result["b"].numpy(), 2.5)  # mean and median of 1, 2, 3, 4


def test_a_failing_or_silent_client_is_asked_again() -> None:
    asked: list[int] = []

    def answer(partition: int, message: Message) -> RecordDict | None:
        asked.append(partition)
        if partition == 0:
            raise ValueError("out of memory")
        return None if partition == 1 else constant(partition)

    grid, events = federation(answer)
    start(grid, rounds=2)
    assert asked.count(0) == asked.count(1) == 2
    assert not grid.quarantined
    reasons = [e["reason"] for e in events]
    assert any("out of memory" in r for r in reasons)
    assert any("no reply" in r for r in reasons)


def test_when_every_client_fails_the_run_ends_in_an_error() -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        raise ValueError("disk full")

    grid, _ = federation(answer)
    with pytest.raises(RunError, match=r"round 1: none of 5 clients .*disk full"):
        start(grid)


def test_when_every_client_is_refused_the_run_ends_in_an_error() -> None:
    grid, _ = federation(lambda partition, message: RecordDict())
    with pytest.raises(RunError, match="refused"):
        start(grid)
    with pytest.raises(RunError, match="every client is quarantined"):
        grid.get_node_ids()


def test_clients_without_examples_weigh_nothing_and_divide_by_nothing() -> None:
    grid, _ = federation(lambda partition, message: constant(partition, examples=partition // 4))
    np.testing.assert_allclose(start(grid)["w"].numpy(), 4)
    empty, events = federation(lambda partition, message: constant(partition, examples=0))
    assert len(start(empty)) == 0  # Flower's way to say that nothing was aggregated
    assert events == []


def test_nobody_can_take_anothers_partition_or_change_its_own() -> None:
    grid, events = federation(lambda partition, message: constant(min(partition, 3)))
    start(grid)
    assert [e["reason"] for e in events] == ["it claims partition 3, which another client holds"]

    def restless(partition: int, message: Message) -> RecordDict:
        return constant(partition if message.content["config"]["server-round"] == 1 or partition else 2)

    grid, events = federation(restless)
    start(grid, rounds=2)
    assert [e["reason"] for e in events] == ["it held partition 0, now it claims 2"]
    assert list(grid.quarantined) == ["0"]


def test_every_message_is_counted_under_its_partition() -> None:
    grid, _ = federation(lambda partition, message: constant(partition))
    start(grid, rounds=2)
    figures = grid.ledger.to_dict()
    assert sorted(figures["bytes_by_client"]) == ["0", "1", "2", "3", "4"]
    assert [row["round"] for row in figures["bytes_by_round"]] == [1, 2]
    total = sum(sum(split.values()) for split in figures["bytes_by_client"].values())
    assert total == figures["bytes_total"] == sum(row["up"] + row["down"] for row in figures["bytes_by_round"])


def test_an_evaluation_of_nothing_but_empty_clients_divides_by_nothing() -> None:
    app = ClientApp()

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        values = {"num-examples": 0, "partition-id": context.node_config["partition-id"], "loss": 0.0, "accuracy": 0.0}
        return Message(RecordDict({"metrics": MetricRecord(values)}), reply_to=message)  # type: ignore[arg-type]

    grid = GuardedGrid(InlineGrid(app, 3, {}), Gate(GLOBAL, 3, ()), Ledger(3), lambda event: None)
    strategy = FedAvg(fraction_train=0.0, min_train_nodes=0)
    assert strategy.start(grid, GLOBAL, num_rounds=1).evaluate_metrics_clientapp == {}


def test_a_failure_is_logged_without_escape_codes() -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        if partition:
            return constant(partition)
        raise ValueError("\x1b[31mred" + "x" * 1000)

    grid, events = federation(answer)
    start(grid)
    assert events[0]["event"] == "failure"
    assert events[0]["reason"].isprintable()
    assert len(events[0]["reason"]) < 400


def test_pushed_and_pulled_messages_are_guarded_too() -> None:
    grid, _ = federation(lambda partition, message: constant(partition) if partition else RecordDict())
    record = RecordDict({"arrays": GLOBAL, "config": ConfigRecord({"server-round": 1})})
    ids = list(grid.push_messages(Message(record, node, "train") for node in grid.get_node_ids()))
    assert len(list(grid.pull_messages(ids))) == CLIENTS - 1
    assert len(grid.quarantined) == 1
    assert grid.ledger.bytes_total > 0


scalars = st.one_of(st.integers(-(2**62), 2**62), st.floats(), st.lists(st.floats(), max_size=3))
names = st.sampled_from(["num-examples", "partition-id", "loss", "accuracy", "x"])
blobs = st.builds(
    Array,
    st.sampled_from(["float32", "float64", "object", "?", "<U9"]),
    st.lists(st.integers(-1, 2**40), max_size=3).map(tuple),
    st.sampled_from(["numpy.ndarray", "torch", ""]),
    st.one_of(st.binary(max_size=64), st.just(GLOBAL["w"].data), st.just(Array(NAN).data)),
)
records = st.one_of(
    st.dictionaries(st.sampled_from(["w", "b", "x"]), blobs, max_size=3).map(ArrayRecord),
    st.dictionaries(names, scalars, max_size=4).map(MetricRecord),
    st.dictionaries(names, st.one_of(st.text(max_size=9), st.binary(max_size=9)), max_size=2).map(ConfigRecord),
)
hostile = st.dictionaries(st.sampled_from(["arrays", "metrics", "payload", "x"]), records, max_size=3).map(RecordDict)


@settings(max_examples=300, deadline=None)
@given(hostile, st.sampled_from(["train", "evaluate", "query.prompts"]))
def test_generated_replies_are_refused_without_an_exception(content: RecordDict, kind: str) -> None:
    outcome = check(content, kind)
    if isinstance(outcome, Admitted):  # Hypothesis can build a sound evaluation, by luck
        assert kind == "evaluate"
        assert set(content) == {"metrics"}
    else:
        assert len(outcome.reason) < 400
