"""The promise of votes put to the test: what is kept is kept, and a vote that is told many times is found."""

import pytest

from clients import voting
from experiments.audit.promise import examine
from fgl_flower.config import RunConfig
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.privacy.noise import noised

CONFIG = RunConfig(
    dataset="world-codes", private_images=40, clients=2, partition="iid", prompt_level="votes", dp_epsilon=1.0
)


def test_votes_keep_their_promise_and_halves_of_the_noise_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = examine(CONFIG, trials=600)
    assert not kept.broken
    assert kept.promise.releases == 4
    assert kept.spent <= 1

    def loud(counts: list[int], promise: Guarantee) -> list[int]:
        return noised(counts, promise.noise / 8)

    monkeypatch.setattr("experiments.audit.promise.told", loud)
    assert examine(CONFIG.model_copy(update={"client_evaluation": False}), trials=600).broken
    assert voting.told is not loud
