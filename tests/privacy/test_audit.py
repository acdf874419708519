"""The audit finds what is there: it never claims more than the truth, and it catches a mechanism that is broken."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from clients import private
from experiments.audit.promise import examine
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.learning import private_training
from fgl_flower.privacy.audit import epsilon_at_least
from fgl_flower.privacy.noise import gaussian, noised

CONFIG = RunConfig(
    private_images=400, clients=2, prompt_level="class", dp_epsilon=1.0, client_evaluation=False, device="cpu"
)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_of_randomised_response_it_finds_nearly_all(epsilon: float) -> None:
    rng, truth = np.random.default_rng(0), math.exp(epsilon) / (1 + math.exp(epsilon))
    with_it, without = rng.random(40_000) < truth, rng.random(40_000) >= truth
    found = epsilon_at_least(without.astype(float), with_it.astype(float), 0.0)
    assert 0.9 * epsilon < found <= epsilon


def test_of_equal_answers_it_finds_nothing() -> None:
    found = [
        epsilon_at_least(*np.random.default_rng(seed).normal(size=(2, 2000)), 0.0)  # type: ignore[call-arg]
        for seed in range(20)
    ]
    assert sum(one > 0 for one in found) <= 3  # wrong once in twenty times, at most
    assert epsilon_at_least([], [], 0.0) == 0


def test_a_client_keeps_its_promise() -> None:
    found = examine(CONFIG, trials=500)
    assert 0 <= found.at_least < 1.0
    assert not found.broken
    assert found.spent == pytest.approx(1.0, abs=0.01)


def test_a_fifth_of_the_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "noised", lambda counts, deviation: noised(counts, deviation / 5))
    assert examine(CONFIG, trials=1500).broken


def test_a_value_that_is_told_again_with_new_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def told_often(counts: Sequence[int], deviation: float) -> list[int]:  # 36 times, and averaged by who listens
        noise = np.random.default_rng().normal(0, deviation, (36, len(counts))).round().mean(axis=0)
        return [round(count + more) for count, more in zip(counts, noise, strict=True)]

    monkeypatch.setattr(private, "noised", told_often)
    assert examine(CONFIG, trials=1000).broken


STEPS = CONFIG.model_copy(update={"method": "fedavg", "rounds": 2, "local_epochs": 1, "batch_size": 400})


def test_a_clients_training_keeps_its_promise() -> None:
    found = examine(STEPS, trials=200)
    assert (found.promise.releases, found.promise.made[0].rate) == (2, 1.0)
    assert not found.broken
    assert found.spent == pytest.approx(1.0, abs=0.01)


def test_training_with_a_tenth_of_the_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "gaussian", lambda count, deviation: gaussian(count, deviation / 10))
    assert examine(STEPS, trials=200).broken


def test_without_a_promise_there_is_nothing_to_test() -> None:
    with pytest.raises(ConfigError, match="set dp-epsilon"):
        examine(CONFIG.model_copy(update={"dp_epsilon": 0.0}))
