"""What every strategy must keep to, and what each one computes, against sums done by hand."""

from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import FedAvg, Strategy

from fgl_flower.config import RunConfig
from fgl_flower.extension_points import WRAPPED
from fgl_flower.learning.images import Images
from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from strategies.federated import strategy_of
from strategies.fgl import FGL
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from strategies.local import Local
from tests.toys import CLIENTS, SHAPES, filled, learns, toy_app
from tests.undrawn import Undrawn

CONFIG = RunConfig(method="fedavg", rounds=1)
STRATEGIES = list(WRAPPED.builtins)


def run(strategy: Strategy, rounds: int) -> tuple[ArrayRecord, list[dict[str, Any]], list[int]]:
    """Return the final arrays, what the clients were asked, and the rounds that were evaluated."""
    seen: list[dict[str, Any]] = []
    evaluated: list[int] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        evaluated.append(server_round)
        return MetricRecord({"round": server_round})

    inline = InlineGrid(toy_app(seen), CLIENTS, {})
    grid = GuardedGrid(inline, Gate(filled(0), CLIENTS, ("star",)), Ledger(CLIENTS), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=rounds, evaluate_fn=evaluate)
    return result.arrays, seen, evaluated


class Conformance:
    """Inherited by the tests of every strategy."""

    prompt_rounds = 0

    def build(self) -> Strategy:
        raise AssertionError("each suite builds its own strategy")

    def test_each_round_asks_every_client_once(self) -> None:
        _, seen, evaluated = run(self.build(), self.prompt_rounds + 2)
        trained = [s for s in seen if s["kind"] == "train"]
        assert [s["server-round"] for s in trained] == [1] * CLIENTS + [2] * CLIENTS
        assert evaluated == list(range(self.prompt_rounds + 3))

    def test_the_model_keeps_names_shapes_and_dtypes(self) -> None:
        arrays, _, _ = run(self.build(), self.prompt_rounds + 2)
        for name, array in arrays.items():
            assert (array.dtype, tuple(array.shape)) == ("float32", SHAPES[name])
            assert np.isfinite(array.numpy()).all()

    def test_it_is_repeatable(self) -> None:
        first, second = (run(self.build(), self.prompt_rounds + 2)[0] for _ in range(2))
        assert first == second

    def test_a_round_without_replies_changes_nothing(self) -> None:
        strategy = self.build()
        grid = InlineGrid(toy_app([]), CLIENTS, {})
        server_round = self.prompt_rounds + 1
        list(strategy.configure_train(server_round, filled(0), ConfigRecord(), grid))
        assert strategy.aggregate_train(server_round, []) == (None, None)

    def test_it_says_what_it_is(self) -> None:
        self.build().summary()


@pytest.mark.parametrize("name", STRATEGIES)
class TestFederated(Conformance):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return strategy_of(self.name, CONFIG)


@pytest.mark.parametrize("name", STRATEGIES)
class TestWrapped(Conformance):
    prompt_rounds = 1

    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return FGL(strategy_of(self.name, CONFIG), Undrawn(), learns(7))

    def test_after_the_prompt_round_it_goes_on_as_the_wrapped_strategy_would(self) -> None:
        generative = FGL(strategy_of(self.name, CONFIG), Undrawn(), learns(0))
        assert run(generative, 3)[0] == run(strategy_of(self.name, CONFIG), 2)[0]


class TestLocal(Conformance):
    def build(self) -> Strategy:
        return Local()

    def test_each_client_goes_on_from_its_own_model(self) -> None:
        strategy = Local()
        shared, _, _ = run(strategy, 3)
        assert len(shared) == 0
        values = sorted(float(arrays["b"].numpy()) for arrays in strategy.models.values())
        assert values == [3 * (1 + i) for i in range(CLIENTS)]  # 1 + i, three times


def test_fedavg_is_the_mean_weighted_by_examples() -> None:
    arrays, _, _ = run(strategy_of("fedavg", CONFIG), 1)
    # Client i adds 1 + i and holds 1 + i examples: (1*1 + 2*2 + 3*3 + 4*4) / (1 + 2 + 3 + 4) = 30 / 10.
    np.testing.assert_allclose(arrays["w"].numpy(), 3.0)


def test_fedavgm_adds_momentum() -> None:
    arrays, _, _ = run(strategy_of("fedavgm", RunConfig(method="fedavgm", rounds=1, server_momentum=0.5)), 2)
    # Each round's step is 3; the second one adds half of the first: 3 + (0.5 * 3 + 3) = 7.5.
    np.testing.assert_allclose(arrays["w"].numpy(), 7.5)


def test_baselines_tell_clients_their_settings() -> None:
    for name, expected in (("fedprox", {"proximal-mu": 0.01}), ("moon", {"moon-mu": 1.0, "moon-temperature": 0.5})):
        _, seen, _ = run(strategy_of(name, CONFIG), 1)
        assert all(expected.items() <= s.items() for s in seen)


def test_the_prompt_round_gives_the_server_every_payload_and_clients_nothing() -> None:
    synthesis = Undrawn()
    arrays, seen, _ = run(FGL(FedAvg(fraction_evaluate=0.0), synthesis, learns(7)), 1)
    assert arrays == filled(7)
    assert seen == [{"kind": "prompts", "round": 0}] * CLIENTS
    assert [payload.partition for payload in synthesis.asked[0]] == list(range(CLIENTS))


def test_fine_tuning_follows_every_aggregation() -> None:
    rounds: list[int] = []

    def fine_tune(arrays: ArrayRecord, images: Images, server_round: int) -> ArrayRecord:
        rounds.append(server_round)
        return filled(100 * server_round)

    strategy = FGL(FedAvg(fraction_evaluate=0.0), Undrawn(), learns(0), fine_tune)
    arrays, _, _ = run(strategy, 3)
    assert rounds == [1, 2]
    assert arrays == filled(200)


def test_server_momentum_steps_from_the_fine_tuned_model() -> None:
    momentum = strategy_of("fedavgm", RunConfig(method="fedavgm", rounds=1, server_momentum=0.5))
    tuned = {1: filled(100)}
    strategy = FGL(momentum, Undrawn(), learns(0), lambda arrays, images, n: tuned.get(n, arrays))
    arrays, _, _ = run(strategy, 3)
    # The clients' mean step is 3 in both rounds: 100 + (0.5 * 3 + 3) = 104.5.
    np.testing.assert_allclose(arrays["w"].numpy(), 104.5)


# --- whole runs, with a tiny random-weight pipeline ---
