"""Attacks by shadow models, against worlds in which the best attack is known in closed form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from fgl_flower.data.audited import canaries, members
from fgl_flower.privacy.membership import ATTACKS, Shadows, lira_offline, lira_online, rates, rmia

IMAGES, OTHERS = 600, 300


def toy(shift: float, models: int, seed: int = 0, hardness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores' inputs of a world: logits are normal about an image's own mean, `shift` higher for members."""
    rng = np.random.default_rng(seed)
    member = np.stack([members(IMAGES, half) for half in range(1, models + 1)])
    own = hardness * rng.normal(size=IMAGES)
    return own + shift * member + rng.normal(size=member.shape), member


def attacked(signals: np.ndarray, member: np.ndarray, attack: str) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truth of all images under each model as the target."""
    others = np.random.default_rng(1).normal(size=(len(signals), OTHERS))
    scores = []
    for target in range(len(signals)):
        rest = [k for k in range(len(signals)) if k // 2 != target // 2]
        world = Shadows(
            signals[target][None], signals[rest][:, None], member[rest], others[target][None], others[rest][:, None]
        )
        scores.append(ATTACKS[attack](world))
    return np.concatenate(scores), member.ravel()


def test_lira_is_as_good_as_the_likelihood_ratio_with_known_distributions() -> None:
    shift = 2.0
    found = rates(*attacked(*toy(shift, 62), "LiRA, online"))  # so many that means are known well
    assert found.auc == pytest.approx(norm.cdf(shift / np.sqrt(2)), abs=0.02)
    for level in (0.01, 0.001):
        best = norm.cdf(norm.ppf(level) + shift)  # Neyman and Pearson's test of N(0, 1) against N(shift, 1)
        assert 0.8 * best < found.at[level][0] < 1.1 * best


def test_offline_attacks_lie_between_chance_and_the_online_one() -> None:
    signals, member = toy(1.5, 16)
    online = rates(*attacked(signals, member, "LiRA, online")).auc
    assert 0.6 < rates(*attacked(signals, member, "LiRA, offline")).auc < online + 0.01


def test_rmia_beats_a_threshold_on_the_probability_where_images_differ() -> None:
    signals, member = toy(1.5, 16, hardness=2.0)
    assert rates(*attacked(signals, member, "RMIA")).auc > rates(signals.ravel(), member.ravel()).auc + 0.1


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("models", [6, 16, 64])
def test_models_that_know_nothing_of_members_are_at_chance(attack: str, models: int) -> None:
    # 3,600 to 38,400 scores: the deviation of the area is 0.01 to 0.003
    assert rates(*attacked(*toy(0.0, models), attack)).auc == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("attack", ATTACKS)
def test_models_that_are_the_same_give_nothing_away(attack: str) -> None:
    signals, member = toy(0.0, 8)
    same = np.broadcast_to(signals[:1], signals.shape)
    scores, truth = attacked(same, member, attack)
    assert rates(scores, truth).auc == pytest.approx(0.5, abs=0.03)


def test_views_add_up() -> None:
    one, member = toy(1.0, 16)
    two, _ = toy(1.0, 16, seed=5)
    rest = list(range(2, 16))
    none = np.zeros((1, 10)), np.zeros((14, 1, 10))
    first = Shadows(one[0][None], one[rest][:, None], member[rest], *none)
    both = Shadows(
        np.stack([one[0], two[0]]),
        np.stack([one[rest], two[rest]], 1),
        member[rest],
        np.zeros((2, 10)),
        np.zeros((14, 2, 10)),
    )
    assert rates(lira_online(both), member[0]).auc > rates(lira_online(first), member[0]).auc


def test_by_hand() -> None:
    """Two models in (1, 3) and two out (-1, 1), target 2: means 2 and 0, all deviations root 2."""
    world = Shadows(
        np.array([[2.0]]),
        np.array([1.0, 3.0, -1.0, 1.0])[:, None, None],
        np.array([True, True, False, False])[:, None],
        np.array([[0.0, 3.0]]),
        np.zeros((4, 1, 2)),
    )
    assert lira_online(world) == pytest.approx([2**2 / 2 / 2])
    assert lira_offline(world) == pytest.approx([2 / np.sqrt(2)])

    def p(logit: float) -> float:
        return 1 / (1 + np.exp(-logit))

    reference = ((p(1) + p(3)) / 2 + (p(-1) + p(1)) / 2) / 2
    ratio = p(2) / reference  # 1.27: half of it, 0.63, is below both 1 and 1.91
    assert rmia(world) == pytest.approx([(0 + ratio / (1 + ratio)) / 3])


def test_rates_by_hand() -> None:
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], dtype=float)
    member = np.array([1, 1, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    found = rates(scores, member, (0.0, 0.2))
    assert found.at[0.0][0] == 0.5  # two of four before the first false alarm
    assert found.at[0.2][0] == 1.0
    assert found.at[0.0][1:] == pytest.approx((0.0676, 0.9324), abs=1e-4)  # Clopper and Pearson, 2 of 4
    assert found.auc == pytest.approx(1 - 2 / 24)  # two of 24 pairs in the wrong order
    assert (found.members, found.others) == (4, 6)


@given(st.integers(2, 300), st.integers(1, 500))
def test_two_halves_are_the_whole(count: int, pair: int) -> None:
    one, other = members(count, 2 * pair - 1), members(count, 2 * pair)
    assert (one ^ other).all()
    assert one.sum() == count // 2


def test_canaries_bear_wrong_labels_and_are_always_the_same() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1000)
    chosen, wrong = canaries(labels, 50, 10)
    assert len(set(chosen.tolist())) == 50
    assert (labels[chosen] != wrong).all()
    assert set(wrong.tolist()) <= set(range(10))
    again = canaries(labels, 50, 10)
    assert (chosen == again[0]).all()
    assert (wrong == again[1]).all()
