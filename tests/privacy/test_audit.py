"""The audit finds what is there: it never claims more than the truth, and it catches a mechanism that is broken."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm

from clients import private
from experiments.audit.promise import examine
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.learning import private_training
from fgl_flower.levels import noisy_embeddings
from fgl_flower.privacy.audit import epsilon_at_least, noise_at_most
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
    found = examine(CONFIG.model_copy(update={"dp_epsilon": 4.0}), trials=2000)
    assert 0 <= found.at_least < 4.0
    assert 1.0 < found.by_noise < 4.0
    assert not found.broken
    assert found.spent == pytest.approx(4.0, abs=0.01)


def halved(counts: Sequence[int], deviation: float) -> list[int]:
    return noised(counts, deviation / 2)


def told_twice(counts: Sequence[int], deviation: float) -> list[float]:
    """Return what who listens makes of counts that are told again with new noise."""
    return [(one + other) / 2 for one, other in zip(noised(counts, deviation), noised(counts, deviation), strict=True)]


@pytest.mark.parametrize("broken", [halved, told_twice])
def test_half_the_noise_and_a_value_told_twice_are_caught(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "noised", broken)
    found = examine(CONFIG.model_copy(update={"dp_epsilon": 4.0}), trials=2000)
    assert found.at_least < 4.0 < found.by_noise  # few trials catch it by what is known of the noise alone
    assert found.broken


def test_of_gaussian_noise_the_bound_lies_closely_above_the_truth() -> None:
    def delta_at(noise: float, epsilons: np.ndarray) -> np.ndarray:  # Balle and Wang, 2018
        mu = 1 / noise
        return norm.cdf(mu / 2 - epsilons / mu) - np.exp(epsilons) * norm.cdf(-mu / 2 - epsilons / mu)

    rng = np.random.default_rng(1)
    for deviation in (0.5, 1.0, 2.0):
        without, with_it = rng.normal(0, deviation, 20_000), rng.normal(1, deviation, 20_000)
        for promised in (deviation, 2 * deviation):  # what was promised has no say in it
            assert deviation < noise_at_most(without, with_it, delta_at, promised) < 1.2 * deviation
    assert noise_at_most(without, without, delta_at, 1.0) == math.inf


STEPS = CONFIG.model_copy(update={"method": "fedavg", "rounds": 2, "local_epochs": 1, "batch_size": 400})


def test_a_clients_training_keeps_its_promise() -> None:
    found = examine(STEPS, trials=200)
    assert (found.promise.releases, found.promise.made[0].rate) == (2, 1.0)
    assert not found.broken
    assert found.spent == pytest.approx(1.0, abs=0.01)


def test_training_with_half_the_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_training, "gaussian", lambda count, deviation: gaussian(count, deviation / 2))
    assert examine(STEPS.model_copy(update={"dp_epsilon": 4.0}), trials=400).broken


@pytest.mark.usefixtures("few_sentences")
def test_embeddings_with_half_the_noise_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIG.model_copy(
        update={
            "prompt_level": "embeddings",
            "embedding_groups": "class",
            "dp_dimensions": 8,
            "dp_epsilon": 4.0,
            "private_images": 60,
        }
    )
    assert not examine(config, trials=400).broken
    monkeypatch.setattr(noisy_embeddings, "noised", lambda counts, deviation: noised(counts, deviation / 2))
    assert examine(config, trials=400).broken


def test_without_a_promise_there_is_nothing_to_test() -> None:
    with pytest.raises(ConfigError, match="set dp-epsilon"):
        examine(CONFIG.model_copy(update={"dp_epsilon": 0.0}))
