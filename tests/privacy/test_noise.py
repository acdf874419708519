"""Noise is what it is said to be, and nobody who knows the run's seed knows it."""

import random

import numpy as np
import pytest
import torch

from fgl_flower.privacy.noise import noised


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
