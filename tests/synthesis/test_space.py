"""A budget that no disk can hold is refused before anyone has worked for it."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from fgl_flower.errors import RunError
from fgl_flower.foundation.generator import inspect
from fgl_flower.records.reading import read_run
from fgl_flower.synthesis import decoding
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.space import check_space, free_bytes, needed_bytes
from fgl_flower.synthesis.store import SyntheticStore
from tests.whole_runs import served, small

SETTINGS = SamplingSettings.of(inspect("miniature-fast"), stored_size=32)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_what_is_needed_are_images_and_the_training_set(tmp_path: Path) -> None:
    store = SyntheticStore(tmp_path / "not" / "there")
    assert needed_bytes(1000, SETTINGS, 32, store) == 1000 * 32 * 32
    many = decoding.MAPPED_BYTES // (3 * 32 * 32) + 1
    assert needed_bytes(many, SETTINGS, 32, store) == many * 32 * 32 * (1 + 3)  # too large for memory: mapped
    assert free_bytes(store.path) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_what_is_drawn_already_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 100_000, 100_000))
    store = SyntheticStore(tmp_path)
    check_space(97, SETTINGS, 32, store)  # 97 KiB
    with pytest.raises(RunError, match=r"98 images need about .* the store .* free: lower images-per-class"):
        check_space(98, SETTINGS, 32, store)
    monkeypatch.setattr(SyntheticStore, "__len__", lambda _: 90)
    check_space(98, SETTINGS, 32, store)


def test_a_run_is_refused_before_a_client_is_asked(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="1,000,000,000,000 images need about"):
        served(small(tmp_path, "fgl", "miniature-fast", images_per_class=10**11))
    (run,) = (read_run(path) for path in tmp_path.glob("fgl*"))
    assert (run.state, {"prompts", "synthesis"} & {event["event"] for event in run.events}) == ("failed", set())
    with pytest.raises(RunError, match="300,000,000,000 images need about"):  # three clients, each with a cap
        served(small(tmp_path, "fgl", "miniature-fast", images_per_class=10**11, max_client_images=10**11))
