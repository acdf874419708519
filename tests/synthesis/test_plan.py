"""Plans: budgets, seeds and content addresses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import GeneratorCard
from fgl_flower.synthesis.plan import plan_of
from fgl_flower.synthesis.settings import SamplingSettings
from tests.plans import Told, even_plan

CARD = GeneratorCard("model", "sha256:0", "StableDiffusionPipeline", "DDIMScheduler", 15, 2.5, 32, Path("/nowhere"))
SETTINGS = SamplingSettings.of(CARD)


STARS = [Told("a sketch of a star", "star", "sketch"), Told("a photo of a star", "star", "photo")]


def test_rows_are_the_counts_in_order_without_those_of_none() -> None:
    plan = plan_of([("a circle", "circle", "", 5), ("a", "star", "photo", 0), ("b", "star", "sketch", 2)], SETTINGS, 0)
    assert plan.rows() == [("circle", "", "a circle", 5), ("star", "sketch", "b", 2)]
    assert [i.label for i in plan.images] == ["circle"] * 5 + ["star"] * 2


counted = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["", "d"]), st.integers(0, 9)),
    max_size=12,
    unique_by=lambda row: row[:3],
)


@given(counted, st.integers(0, 2**31 - 1), st.data())
def test_images_are_the_same_however_they_are_asked_for(rows: list, seed: int, data: st.DataObject) -> None:
    plan = plan_of(rows, SETTINGS, seed)
    images = list(plan.images)
    assert len(plan) == len(images) == sum(count for *_, count in rows)
    assert [(i.prompt, i.label, i.domain) for i in images] == [row[:3] for row in rows for _ in range(row[3])]
    assert len(set(plan.keys)) == len(plan)  # no image is planned twice, not even one prompt under two labels
    assert all(0 <= i.seed < 2**63 for i in images)
    assert [plan.images[i] for i in range(len(plan))] == images
    assert [plan.images[i - len(plan)] for i in range(len(plan))] == images
    start, stop = (data.draw(st.integers(-3, len(plan) + 3)) for _ in range(2))
    assert plan.images[start:stop] == tuple(images[start:stop])
    with pytest.raises(IndexError):
        plan.images[len(plan)]
    part = plan.select(plan.keys[::2])
    assert part.images == tuple(images[::2])
    assert sum(count for *_, count in part.rows()) == len(part)
    assert plan_of(rows, SETTINGS, seed) == plan
    assert plan_of(rows, SETTINGS, seed).digest == plan.digest
    if rows:
        assert plan_of(rows, SETTINGS, seed + 1).digest != plan.digest or not len(plan)
        assert plan_of([(*rows[0][:3], rows[0][3] + 1), *rows[1:]], SETTINGS, seed).digest != plan.digest


def test_stores_of_earlier_versions_hold_the_images_of_this_plan() -> None:
    plan = even_plan([*STARS, Told("a photo of a star", "moon", "photo")], 3, SETTINGS, 7)
    assert plan.keys[0] == "53e492e60d31ec53d255ec0c13caa902"
    assert plan.keys[-1] == "4d7ddf4015303aac5d1897fbfba8d82a"
    assert plan.images[-1].seed == 7559152359564358996


def test_a_plan_costs_its_prompts_not_its_images() -> None:
    plan = plan_of([("a star", "star", "", 10**15), ("a circle", "circle", "", 10**15)], SETTINGS, 0)
    assert len(plan) == 2 * 10**15
    assert plan.images[10**15 - 1].label == "star"
    assert plan.images[-1].label == "circle"
    assert plan.rows()[1] == ("circle", "", "a circle", 10**15)
    assert len(plan.digest) == 32


@given(st.integers(0, 30), st.integers(0, 30))
def test_larger_budget_keeps_the_images_of_a_smaller(small: int, more: int) -> None:
    one, two = even_plan(STARS, small, SETTINGS, 0), even_plan(STARS, small + more, SETTINGS, 0)
    assert set(one.keys) <= set(two.keys)


def test_seed_prompt_and_every_setting_change_the_key() -> None:
    def key(settings: SamplingSettings = SETTINGS, text: str = "a star", seed: int = 0) -> str:
        return even_plan([Told(text, "star")], 1, settings, seed).keys[0]

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
        "safety_checker": True,
        "vae_tiling": True,
        "attention": "flash",
        "quantisation": "int8",
        "prompt_tokens": 256,
    }
    assert set(changes) == set(SETTINGS.__dataclass_fields__)
    keys = [key(), key(text="a star."), key(seed=1), *(key(replace(SETTINGS, **{n: v})) for n, v in changes.items())]
    assert len(set(keys)) == len(keys)


def test_embedding_decides_the_key_by_its_values() -> None:
    def key(value: float) -> str:
        return even_plan([Told("mean", "star")], 1, SETTINGS, 0, {"mean": np.full((24, 64), value)}).keys[0]

    assert key(0.5) == key(0.5)
    assert len({key(0.5), key(0.25), even_plan([Told("mean", "star")], 1, SETTINGS, 0).keys[0]}) == 3


def test_settings_without_guidance_have_one_form() -> None:
    plain = SamplingSettings.of(CARD, guidance=0)
    assert plain == SamplingSettings.of(CARD, guidance=1, negative_prompt="blurry", guidance_until=0.5)
    assert not plain.guided
    assert SamplingSettings.of(CARD).guidance == 2.5


@pytest.mark.parametrize("wrong", [{"scheduler": "ddpm2"}, {"guidance_from": 0.5, "guidance_until": 0.5}])
def test_contradictory_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        SamplingSettings.of(CARD, **wrong)
