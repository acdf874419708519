"""What every strategy must keep to, and what each one computes, against sums done by hand."""

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fgl_flower.config import RunConfig
from fgl_flower.extension_points import WRAPPED
from fgl_flower.learning.images import Images
from strategies.federated import strategy_of
from strategies.fgl import FGL
from tests.toys import CLIENTS, filled, learns, run
from tests.undrawn import Undrawn

CONFIG = RunConfig(method="fedavg", rounds=1)
STRATEGIES = list(WRAPPED.builtins)


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
    assert [payload.partition_id for payload in synthesis.asked[0]] == list(range(CLIENTS))


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
