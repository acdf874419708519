"""Plans: budgets, seeds and content addresses."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import GeneratorCard
from fgl_flower.synthesis.plan import SamplingSettings, make_plan

CARD = GeneratorCard("model", "sha256:0", "StableDiffusionPipeline", "DDIMScheduler", 15, 2.5, 32, Path("/nowhere"))
SETTINGS = SamplingSettings.of(CARD)


@dataclass(frozen=True)
class Told:
    text: str
    label: str
    domain: str = ""


STARS = [Told("a sketch of a star", "star", "sketch"), Told("a photo of a star", "star", "photo")]


def test_budget_is_spread_evenly_over_the_prompts_of_a_class() -> None:
    plan = make_plan([*STARS, Told("a circle", "circle")], 5, SETTINGS, 0)
    # circle: 5 from its one prompt; star: 5 = 3 + 2, the first by (domain, text) gets the odd one
    assert plan.rows() == [
        ("circle", "", "a circle", 5),
        ("star", "photo", "a photo of a star", 3),
        ("star", "sketch", "a sketch of a star", 2),
    ]


def test_budget_by_class_and_classes_without_prompts() -> None:
    plan = make_plan(STARS, {"star": 3, "moon": 7}, SETTINGS, 0)
    assert [i.label for i in plan.images] == ["star"] * 3


prompts = st.lists(
    st.builds(Told, st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["", "d"])), max_size=12
)


@given(prompts, st.integers(0, 40), st.integers(0, 2**31 - 1), st.randoms())
def test_order_and_repetition_of_prompts_do_not_matter(
    told: list[Told], budget: int, seed: int, random: object
) -> None:
    plan = make_plan(told, budget, SETTINGS, seed)
    shuffled = told * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_plan(shuffled, budget, SETTINGS, seed) == plan
    assert len(plan) == budget * len({t.label for t in told})
    assert len(set(plan.keys)) == len(plan)  # no image is planned twice, not even one prompt under two labels
    assert all(0 <= i.seed < 2**63 for i in plan.images)


@given(st.integers(0, 30), st.integers(0, 30))
def test_larger_budget_keeps_the_images_of_a_smaller(small: int, more: int) -> None:
    one, two = make_plan(STARS, small, SETTINGS, 0), make_plan(STARS, small + more, SETTINGS, 0)
    assert set(one.keys) <= set(two.keys)


def test_seed_prompt_and_every_setting_change_the_key() -> None:
    def key(settings: SamplingSettings = SETTINGS, text: str = "a star", seed: int = 0) -> str:
        return make_plan([Told(text, "star")], 1, settings, seed).keys[0]

    changes = {
        "generator": "other",
        "revision": "sha256:1",
        "pipeline": "FluxPipeline",
        "scheduler": "UniPCMultistepScheduler",
        "steps": 16,
        "guidance": 3.0,
        "guidance_from": 0.1,
        "guidance_until": 0.9,
        "negative_prompt": "blurry",
        "size": 64,
        "stored_size": 16,
        "precision": "bfloat16",
    }
    assert set(changes) == set(SETTINGS.__dataclass_fields__)
    keys = [key(), key(text="a star."), key(seed=1), *(key(replace(SETTINGS, **{n: v})) for n, v in changes.items())]
    assert len(set(keys)) == len(keys)


def test_embedding_decides_the_key_by_its_values() -> None:
    def key(value: float) -> str:
        return make_plan([Told("mean", "star")], 1, SETTINGS, 0, {"mean": np.full((24, 64), value)}).keys[0]

    assert key(0.5) == key(0.5)
    assert len({key(0.5), key(0.25), make_plan([Told("mean", "star")], 1, SETTINGS, 0).keys[0]}) == 3


def test_settings_without_guidance_have_one_form() -> None:
    plain = SamplingSettings.of(CARD, guidance=0)
    assert plain == SamplingSettings.of(CARD, guidance=1, negative_prompt="blurry", guidance_until=0.5)
    assert not plain.guided
    assert SamplingSettings.of(CARD).guidance == 2.5


@pytest.mark.parametrize("wrong", [{"scheduler": "ddpm2"}, {"guidance_from": 0.5, "guidance_until": 0.5}])
def test_contradictory_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        SamplingSettings.of(CARD, **wrong)
