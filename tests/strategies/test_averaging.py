"""The mean of models as they come is Flower's, in any order of replies, and the server holds one sum."""

import itertools
import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    Krum,
    QFedAvg,
)
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords, aggregate_metricrecords
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.config import RunConfig
from fgl_flower.simulation import _ensure_identity
from strategies.averaging import RunningMean, needs_only_the_mean
from strategies.federated import strategy_of

SHAPES = {"conv": (3, 2, 2), "bias": (5,), "scalar": (), "none": (0, 4)}


def model(generator: np.random.Generator, size: float) -> ArrayRecord:
    return ArrayRecord(
        {k: Array(np.asarray(generator.normal(0, size, shape), np.float32)) for k, shape in SHAPES.items()}
    )


def reply(arrays: ArrayRecord, weight: int, loss: float) -> RecordDict:
    return RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": weight, "loss": loss})})


def mean_of(start: ArrayRecord, replies: list[RecordDict], most: int = 10**6) -> RecordDict:
    mean = RunningMean(start, most)
    for one in replies:
        mean.add(one)
    return mean.content()


def same(one: RecordDict, other: RecordDict) -> bool:
    a, b = one.array_records["arrays"], other.array_records["arrays"]
    return list(a) == list(b) and all(a[k].data == b[k].data for k in a) and one["metrics"] == other["metrics"]


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0.001, 10)), min_size=1, max_size=6),
    st.floats(1e-3, 100),
)
def test_it_is_flowers_mean_and_of_one_reply_the_reply(seed: int, clients: list, size: float) -> None:  # type: ignore[type-arg]
    generator = np.random.default_rng(seed)
    start = model(generator, size)
    replies = [reply(model(generator, size), weight, loss) for weight, loss in clients]
    own, theirs = mean_of(start, replies), aggregate_arrayrecords(replies, "num-examples")
    for name, array in own.array_records["arrays"].items():
        assert (array.dtype, tuple(array.shape)) == ("float32", SHAPES[name])
        np.testing.assert_allclose(array.numpy(), theirs[name].numpy(), rtol=1e-5, atol=size * 1e-6)
    assert own["metrics"]["loss"] == pytest.approx(aggregate_metricrecords(replies, "num-examples")["loss"])
    assert own["metrics"]["num-examples"] == sum(weight for weight, _ in clients)


@pytest.mark.parametrize("huge", [1.0, 1e4, 1e30])
def test_the_order_of_replies_does_not_change_a_bit(huge: float) -> None:
    generator = np.random.default_rng(0)
    start = model(generator, 0.1)
    replies = [reply(model(generator, 0.1 * 2**i), 3 + 7 * i, 0.1 * i) for i in range(4)]
    replies[1] = reply(model(generator, huge), 11, 0.3)  # beyond what integers hold: kept beside them
    replies[3] = reply(model(generator, huge), 17, 0.7)
    results = [mean_of(start, list(order)) for order in itertools.permutations(replies)]
    assert all(same(results[0], other) for other in results)
    theirs = aggregate_arrayrecords(replies, "num-examples")
    for name, array in results[0].array_records["arrays"].items():
        np.testing.assert_allclose(array.numpy(), theirs[name].numpy(), rtol=1e-4, atol=1e-6)


def test_two_clients_by_hand() -> None:
    def one(value: float) -> ArrayRecord:
        return ArrayRecord({"w": Array(np.array([value, -value], np.float32))})

    mean = mean_of(one(0.0), [reply(one(1.0), 1, 2.0), reply(one(5.0), 3, 6.0)])
    assert mean["arrays"]["w"].numpy().tolist() == [4.0, -4.0]
    assert dict(mean["metrics"]) == {"num-examples": 4, "loss": 5.0}


def test_the_largest_claims_of_all_clients_fit() -> None:
    largest = np.float32(0.1) * 63
    start = ArrayRecord({"w": Array(np.array([0.1], np.float32))})
    replies = [reply(ArrayRecord({"w": Array(np.array([largest], np.float32))}), 100_000, 1.0) for _ in range(50)]
    mean = mean_of(start, replies, most=50 * 100_000)
    assert mean["arrays"]["w"].numpy()[0] == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "moon"])
def test_built_in_strategies_need_only_the_mean_and_make_the_same_of_it(name: str) -> None:
    _ensure_identity()
    generator = np.random.default_rng(1)
    start = model(generator, 0.1)
    replies = [reply(model(generator, 0.1), 10 + i, 0.5 + i) for i in range(5)]
    whole, folded = (strategy_of(name, RunConfig()) for _ in range(2))
    assert needs_only_the_mean(whole)
    results = []
    for strategy, contents in ((whole, replies), (folded, [mean_of(start, replies)])):
        strategy.current_arrays = start if name == "fedavgm" else {k: a.numpy() for k, a in start.items()}  # type: ignore[attr-defined]
        messages = [Message(content, dst_node_id=1, message_type="train") for content in contents]
        results.append(strategy.aggregate_train(1, messages))
    (arrays, metrics), (other, others) = results
    assert arrays is not None
    assert other is not None
    assert metrics is not None
    for key in arrays:
        np.testing.assert_allclose(arrays[key].numpy(), other[key].numpy(), rtol=1e-3, atol=1e-5)
    assert others == {"loss": pytest.approx(metrics["loss"])}


class Own(FedAvg):
    """A strategy of a user that looks at each reply."""

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        return super().aggregate_train(server_round, list(replies)[:1])


def test_strategies_that_look_at_each_reply_get_them_all() -> None:
    odd = [FedMedian(), FedTrimmedAvg(), Krum(num_malicious_nodes=1), QFedAvg(client_learning_rate=0.1, q=0.1), Own()]
    odd += [FedAvg(weighted_by_key="loss"), FedAvg(train_metrics_aggr_fn=lambda records, key: MetricRecord())]
    wrapped = DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 5)
    assert not any(map(needs_only_the_mean, [*odd, wrapped]))
    assert needs_only_the_mean(FedAvg())


def test_what_is_held_does_not_grow_with_the_clients() -> None:
    start = ArrayRecord({"w": Array(np.ones(1000, np.float32))})
    mean = RunningMean(start, 10**6)
    for _ in range(20):
        mean.add(reply(ArrayRecord({"w": Array(np.ones(1000, np.float32))}), 5, 1.0))
    held = sum(array.nbytes for array in mean._sums.values()) + sum(map(len, mean._beyond.values()))
    assert held == 8 * 1000
    assert math.isclose(float(mean.content()["arrays"]["w"].numpy().mean()), 1.0)
