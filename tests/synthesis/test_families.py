"""Twelve families of pipelines: the same images with one and with two replicas, again and again."""

from pathlib import Path
from typing import Any

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.errors import ModelError
from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan
from tests.tiny_families import FAMILIES, save_family

# Texts of several lengths: a tokenizer that threads share keeps the padding of the call before.
TOLD = [Told("a star", "star"), Told("a photo of the star", "star"), Told("a painting of a circle", "circle")]
EMBEDDED = {"sd", "sdxl", "sdxl-turbo", "sd3", "flux-dev", "flux-schnell"}
LEARNED = {"sd", "sdxl", "sdxl-turbo", "sd3"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in FAMILIES}


def configured(folder: Path, **keys: Any) -> RunConfig:
    return RunConfig(generator=str(folder), device="cpu", synthesis_precision="float32", image_size=28, **keys)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_images_with_one_and_with_two_replicas(
    family: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(folders[family])
    monkeypatch.setattr("fgl_flower.synthesis.tuning.CPU_ROWS", 4)  # calls of four: many of them, and cheap
    plan = even_plan(TOLD, 8, settings_for(config))
    engine = engine_for(config.model_copy(update={"synthesis_batch_size": 3}))
    hashes = []
    for number, replicas in enumerate((1, 2, 2)):
        monkeypatch.setattr("fgl_flower.synthesis.engine.replicas_for", lambda _, replicas=replicas: replicas)
        store = SyntheticStore(tmp_path / str(number))
        assert engine.fill(plan, store).drawn == len(plan)
        hashes.append(store.hashes(plan.keys))
    assert hashes[0] == hashes[1] == hashes[2]
    assert len(set(hashes[0].values())) == len(plan)  # another seed, another image


@pytest.mark.parametrize("family", FAMILIES)
def test_each_level_works_or_is_refused_before_the_round(family: str, folders: dict[str, Path]) -> None:
    takes = capabilities_of(inspect(str(folders[family])))
    assert (takes.embeddings, takes.tokens) == (family in EMBEDDED, family in LEARNED)
    for level in PROMPT_LEVEL.builtins:
        fits = {"embeddings": family in EMBEDDED, "tokens": family in LEARNED}.get(level, True)
        config = configured(folders[family], prompt_level=level)
        if fits:
            check_generator(config)
        else:
            with pytest.raises(ModelError, match=f"prompt-level = '{level}' needs"):
                check_generator(config)
