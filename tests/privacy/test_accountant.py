"""The noise keeps the promise, no more than needed, by formulas and by dp-accounting's own figures."""

import math
from pathlib import Path

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.stats import norm

from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.privacy.accountant import Mechanism, Release, default_delta, epsilon_of, noise_for
from fgl_flower.privacy.guarantee import Guarantee, released

TABLES = Path(__file__).parents[2] / "experiments" / "tables"
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


def shipped_promises() -> list[tuple[str, RunConfig]]:
    """Return each way in which a shipped file keeps a promise, once, at the least epsilon it is used with."""
    found: dict[tuple[str, tuple[Release, ...]], RunConfig] = {}
    for path in sorted(TABLES.glob("*.toml")):
        table = Table.load(path)
        tried = [config for cell in table.cells for _, config in table.tuning(cell, Path("runs"))]
        for config in [*(table.config(cell, table.seeds[0], {}, Path("runs")) for cell in table.cells), *tried]:
            if config.dp_epsilon and (made := released(config, config.private_images)):
                at = (path.stem, made)
                if at not in found or found[at].dp_epsilon > config.dp_epsilon:
                    found[at] = config
    return [(name, config) for (name, _), config in found.items()]


def test_of_every_shipped_file_the_epsilon_is_what_dp_accounting_says_of_the_same_events() -> None:
    """`PLDAccountant` composes the events by itself; of discrete noise it knows the continuous mechanism alone."""
    promises = shipped_promises()
    assert {name for name, _ in promises} >= {"epsilon", "votes"}
    for name, config in promises:
        promise = Guarantee.of(config, config.private_images)
        assert promise is not None
        accountant = PLDAccountant()
        for release in promise.made:
            noise = GaussianDpEvent(promise.noise)
            event = PoissonSampledDpEvent(release.rate, noise) if release.rate < 1 else noise
            accountant.compose(SelfComposedDpEvent(event, release.times))
        theirs = accountant.get_epsilon(promise.delta)
        assert promise.noise > 1.5  # the discrete mechanism is nearly the continuous one
        assert promise.spent == pytest.approx(theirs, rel=0.005), (name, promise)
        assert promise.spent <= config.dp_epsilon
