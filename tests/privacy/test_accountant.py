"""The noise keeps the promise, no more than needed, by formulas and by dp-accounting's own figures."""

import math

import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.stats import norm

from fgl_flower.privacy.accountant import Mechanism, Release, default_delta, epsilon_of, noise_for

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)


def delta_of(epsilon: float, noise: float, releases: int) -> float:
    """Return the delta of the continuous Gaussian mechanism of sensitivity 1 (Balle and Wang, 2018)."""
    mu = math.sqrt(releases) / noise
    return float(norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("releases", [1, 3])
def test_the_noise_keeps_the_promise_and_is_no_larger_than_needed(epsilon: float, releases: int) -> None:
    noise = noise_for(epsilon, 1e-4, releases)
    own = pld.from_discrete_gaussian_mechanism(noise).self_compose(releases)
    assert own.get_epsilon_for_delta(1e-4) == pytest.approx(epsilon_of({noise: releases}, 1e-4), abs=1e-9)
    assert 0.999 * epsilon < epsilon_of({noise: releases}, 1e-4) <= epsilon
    if noise >= 2:  # there the discrete mechanism is nearly the continuous one
        assert delta_of(epsilon, noise, releases) == pytest.approx(1e-4, rel=0.2)


def test_releases_add_up_as_those_of_gaussian_noise_do() -> None:
    assert epsilon_of({8.0: 4}, 1e-5) == pytest.approx(epsilon_of({4.0: 1}, 1e-5), rel=0.02)
    assert epsilon_of({8.0: 2, 4.0: 1}, 1e-5) > epsilon_of({4.0: 1}, 1e-5)
    assert epsilon_of({}, 1e-5) == 0


def test_more_privacy_takes_more_noise() -> None:
    noise = noise_for(2.0, 1e-4, 1)
    assert noise_for(1.0, 1e-4, 1) > noise
    assert noise_for(2.0, 1e-5, 1) > noise
    assert noise_for(2.0, 1e-4, 2) > noise


def test_delta_is_below_one_over_the_images() -> None:
    assert default_delta(2100) == pytest.approx(2100**-1.1)
    assert all(default_delta(n) <= 1e-3 and default_delta(n) < 1 / n for n in (1, 2, 500, 1000, 10**6) if n)


@pytest.mark.parametrize(("rate", "times"), [(0.3, 60), (1.0, 20)])
def test_the_noise_of_sampled_steps_keeps_the_promise_by_dp_accountings_own_figures(rate: float, times: int) -> None:
    noise = noise_for(4.0, 1e-4, (Release("models", times, rate, continuous=True),))
    own = pld.from_gaussian_mechanism(noise, sampling_prob=rate, value_discretization_interval=1e-4)
    assert 3.98 < own.self_compose(times).get_epsilon_for_delta(1e-4) <= 4.0
    if rate == 1.0:
        assert delta_of(4.0, noise, times) == pytest.approx(1e-4, rel=0.05)


def test_drawing_fewer_images_takes_less_noise_and_kinds_add_up() -> None:
    steps = Release("models", 20, 1.0, continuous=True)
    assert noise_for(2.0, 1e-4, (Release("models", 20, 0.2, continuous=True),)) < noise_for(2.0, 1e-4, (steps,))
    assert noise_for(2.0, 1e-4, (steps, Release("evaluation", 2))) > noise_for(2.0, 1e-4, (steps,))
    assert epsilon_of({Mechanism(8.0, continuous=True): 2}, 1e-5) == pytest.approx(epsilon_of({8.0: 2}, 1e-5), rel=0.01)
