"""Noise is what it is said to be, and nobody who knows the run's seed knows it."""

import random

import numpy as np
import pytest
import torch

from fgl_flower.privacy.noise import gaussian, noised, sampled


@pytest.mark.parametrize("deviation", [0.7, 3.0, 20.0])
def test_noise_has_the_deviation_and_no_bias(deviation: float) -> None:
    noise = np.array(noised([7] * 5_000, deviation)) - 7
    assert abs(noise.mean()) < 5 * deviation / np.sqrt(len(noise))
    assert noise.std() == pytest.approx(deviation, rel=0.06)


def test_no_seed_reaches_the_noise() -> None:
    drawn = set()
    for _ in range(3):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        drawn.add(tuple(noised([0] * 50, 5.0)))
    assert len(drawn) == 3


def test_continuous_noise_is_gaussian() -> None:
    noise = gaussian(40_001, 3.0) / 3.0
    assert len(noise) == 40_001
    assert abs(noise.mean()) < 5 / np.sqrt(len(noise))
    assert noise.std() == pytest.approx(1.0, rel=0.02)
    assert (np.abs(noise) > 1.96).mean() == pytest.approx(0.05, abs=0.006)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.03
    assert not np.array_equal(gaussian(5, 1.0), gaussian(5, 1.0))


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_images_are_drawn_by_coins_of_their_own(rate: float) -> None:
    counts = [len(sampled(400, rate)) for _ in range(500)]
    assert np.mean(counts) == pytest.approx(400 * rate, abs=1.5)
    assert np.var(counts) == pytest.approx(400 * rate * (1 - rate), rel=0.3)  # no fixed number of them
