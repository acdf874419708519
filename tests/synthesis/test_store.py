"""The store: atomic, shared, content-addressed, and sound whatever happens to its writers."""

import errno
import json
import multiprocessing
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgl_flower.errors import StoreError
from fgl_flower.synthesis import decoding, shards
from fgl_flower.synthesis import maintenance as upkeep
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.shards import SyntheticImage, shard_folder, shard_names
from fgl_flower.synthesis.store import SyntheticStore
from tests.made_images import CARD, drawn, plan_of
from tests.plans import Told, even_plan

pytestmark = pytest.mark.usefixtures("one_thread")  # a forked child would wait for ever for torch's pool of threads

FORK = multiprocessing.get_context("fork")


def test_what_is_added_is_read_back(tmp_path: Path) -> None:
    plan = plan_of(10)
    store = SyntheticStore(tmp_path / "store")
    assert store.missing(plan.keys) == list(plan.keys)
    assert not (tmp_path / "store").exists()  # looking makes nothing
    assert store.add(drawn(plan)[:6]) == 6
    assert store.missing(plan.keys) == list(plan.keys[6:])
    assert store.add(drawn(plan)) == 4  # what exists is never filed twice
    again = SyntheticStore(tmp_path / "store")
    assert len(again) == 10
    assert {i.key: i for i in again.read(plan.keys)} == {i.key: i for i in drawn(plan)}
    assert again.digest(plan) == store.digest(plan)


def test_images_come_in_plan_order_with_the_plans_labels(tmp_path: Path) -> None:
    plan = plan_of(6)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan)[::-1])
    images = store.images(plan, 32, ["star", "circle"], ["sketch"])
    expected = np.stack([i.pixels() for i in drawn(plan)]).transpose(0, 3, 1, 2)
    assert np.array_equal(images.pixels.numpy(), expected)
    assert images.labels.tolist() == [1, 1, 1, 0, 0, 0]  # the plan is sorted by label: circles first
    assert images.domains.tolist() == [-1, -1, -1, 0, 0, 0]
    assert store.images(plan, 16, ["star", "circle"]).pixels.shape == (6, 3, 16, 16)
    with pytest.raises(StoreError, match="circle"):
        store.images(plan, 32, ["star"])


def test_large_training_sets_live_in_a_mapped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(6)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan))
    in_memory = store.images(plan, 32, ["star", "circle"])
    monkeypatch.setattr(decoding, "MAPPED_BYTES", 100)
    mapped = store.images(plan, 32, ["star", "circle"])
    assert torch.equal(mapped.pixels, in_memory.pixels)
    assert [p.name for p in tmp_path.iterdir()] == [".lock", "shards"] or len(
        list(tmp_path.iterdir())
    ) == 2  # no litter


def test_missing_images_are_told(tmp_path: Path) -> None:
    plan = plan_of(4)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan)[:3])
    with pytest.raises(StoreError, match="1 images of the plan"):
        store.digest(plan)
    with pytest.raises(StoreError, match="fill the plan first"):
        list(store.read(plan.keys))


def test_datasets_opens_a_store(tmp_path: Path) -> None:
    plan = plan_of(8)
    store = SyntheticStore(tmp_path / "store")
    for image in drawn(plan):
        store.add([image])
    loaded = datasets.load_dataset(str(tmp_path / "store"), split="train", cache_dir=str(tmp_path / "cache"))
    by_key = {row["key"]: np.asarray(row["image"]) for row in loaded}
    assert set(by_key) == set(plan.keys)
    assert all(np.array_equal(by_key[i.key], i.pixels()) for i in drawn(plan))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 19)), max_size=6))
def test_any_sequence_of_writers_leaves_each_image_once(tmp_path_factory: pytest.TempPathFactory, writes: list) -> None:
    images = drawn(plan_of(20))
    path = tmp_path_factory.mktemp("store")
    writers = [SyntheticStore(path) for _ in writes]  # all opened before the first one writes
    added = [w.add([images[i] for i in chosen]) for w, chosen in zip(writers, writes, strict=True)]
    expected = {images[i].key for chosen in writes for i in chosen}
    assert sum(added) == len(expected) == len(SyntheticStore(path))
    assert upkeep.verify(path) == upkeep.Verdict(len(expected), len([a for a in added if a]), [])


def _write(path: Path, images: list[SyntheticImage]) -> None:
    store = SyntheticStore(path)
    for start in range(0, len(images), 5):
        store.add(images[start : start + 5])


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    images = drawn(plan_of(60))
    writers = [FORK.Process(target=_write, args=(tmp_path, part)) for part in (images, images[::-1], images[20:])]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    verdict = upkeep.verify(tmp_path)
    assert (verdict.images, verdict.problems) == (60, [])


def _write_one_by_one(path: Path, count: int) -> None:
    store = SyntheticStore(path)
    for image in drawn(plan_of(count)):
        store.add([image])


def test_a_killed_writer_leaves_a_sound_store(tmp_path: Path) -> None:
    writer = FORK.Process(target=_write_one_by_one, args=(tmp_path / "store", 400))
    writer.start()
    while len(shard_names(tmp_path / "store")) < 5:
        time.sleep(0.005)
        assert writer.is_alive()
    writer.kill()
    writer.join()
    verdict = upkeep.verify(tmp_path / "store")
    assert verdict.problems == []
    assert 5 <= verdict.images < 400
    store = SyntheticStore(tmp_path / "store")  # the lock died with its holder
    assert store.add(drawn(plan_of(400))) == 400 - verdict.images


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_a_full_disk_is_told_and_leaves_the_store_as_it_was(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(10)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan)[:4])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(shards.pq, "write_table", full)
        elif moment == "fsync":
            patch.setattr(shards.os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(StoreError, match="no space left"):
            store.add(drawn(plan))
    assert len(list(shard_folder(tmp_path).iterdir())) == 1  # no part is left behind
    assert store.missing(plan.keys) == list(plan.keys[4:])
    assert store.add(drawn(plan)) == 6
    assert upkeep.verify(tmp_path).problems == []


def _write_within_100_kilobytes(path: Path, told: Any) -> None:
    images = drawn(plan_of(200))
    store = SyntheticStore(path)
    store.add(images[:10])
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        store.add(images)
    except StoreError as error:
        told.put(str(error))


def test_the_kernels_own_limit_stops_a_shard_in_the_middle(tmp_path: Path) -> None:
    told = FORK.SimpleQueue()
    writer = FORK.Process(target=_write_within_100_kilobytes, args=(tmp_path, told))
    writer.start()
    assert "no space left" in told.get()
    writer.join()
    verdict = upkeep.verify(tmp_path)
    assert (verdict.images, verdict.problems) == (10, [])
    assert len(list(shard_folder(tmp_path).iterdir())) == 1


def test_a_damaged_shard_is_found_and_the_rest_is_kept(tmp_path: Path) -> None:
    plan = plan_of(300)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan)[:200])
    store.add(drawn(plan)[200:])
    victim = max(shard_folder(tmp_path).glob("*.parquet"), key=lambda p: p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF  # in the bytes of some image
    victim.write_bytes(content)
    verdict = upkeep.verify(tmp_path)
    assert len(verdict.problems) == 1
    assert victim.name in verdict.problems[0]
    tidied = upkeep.tidy(tmp_path)
    assert tidied.images_lost == shards.ROWS_PER_GROUP  # the group of rows that holds the flipped byte
    assert upkeep.verify(tmp_path) == upkeep.Verdict(300 - shards.ROWS_PER_GROUP, 1, [])
    assert SyntheticStore(tmp_path).add(drawn(plan)) == shards.ROWS_PER_GROUP


def test_a_cut_shard_stops_readers_with_advice(tmp_path: Path) -> None:
    plan = plan_of(20)
    SyntheticStore(tmp_path).add(drawn(plan))
    shard = next(shard_folder(tmp_path).glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(StoreError, match="fgl store gc"):
        SyntheticStore(tmp_path)
    assert len(upkeep.verify(tmp_path).problems) == 1
    upkeep.tidy(tmp_path)
    assert len(SyntheticStore(tmp_path)) == 0


def test_verify_sees_pixels_and_keys_that_do_not_belong(tmp_path: Path) -> None:
    first, second = drawn(plan_of(2))
    SyntheticStore(tmp_path).add([replace(first, png=second.png), replace(second, seed=second.seed + 1)])
    problems = "\n".join(upkeep.verify(tmp_path).problems)
    assert f"image {first.key}: its pixels" in problems
    assert f"image {second.key}: its key" in problems


def test_tidy_merges_small_shards_under_a_reader(tmp_path: Path) -> None:
    plan = plan_of(30)
    store = SyntheticStore(tmp_path)
    for image in drawn(plan):
        store.add([image])
    reader = SyntheticStore(tmp_path)
    (shard_folder(tmp_path) / ".left-by-a-killed-writer").write_bytes(b"half a shard")
    digest = store.digest(plan)
    tidied = upkeep.tidy(tmp_path)
    assert (tidied.shards_before, tidied.shards_after, tidied.images_lost) == (30, 1, 0)
    assert len(list(shard_folder(tmp_path).iterdir())) == 1
    assert len(list(reader.read(plan.keys))) == 30  # its index is older than the merge
    assert SyntheticStore(tmp_path).digest(plan) == digest


def test_tidy_finishes_a_merge_that_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(10)
    store = SyntheticStore(tmp_path)
    for image in drawn(plan):
        store.add([image])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)  # the merged shard is in place, those it replaces are too
        with pytest.raises(KeyboardInterrupt):
            upkeep.tidy(tmp_path)
    assert len(SyntheticStore(tmp_path)) == 10
    assert upkeep.tidy(tmp_path).shards_after == 1
    assert upkeep.verify(tmp_path) == upkeep.Verdict(10, 1, [])


def test_tidy_drops_settings_by_name(tmp_path: Path) -> None:
    keep, drop = plan_of(6), plan_of(4, guidance=7.0)
    store = SyntheticStore(tmp_path)
    store.add([*drawn(keep), *drawn(drop)])
    rows = {row.images: row for row in upkeep.contents(tmp_path)}
    assert {n: (r.settings["guidance"], r.prompts, r.labels) for n, r in rows.items()} == {
        6: (2.5, 2, 2),
        4: (7.0, 2, 2),
    }
    with pytest.raises(StoreError, match="no image"):
        upkeep.tidy(tmp_path, drop="00000000")
    assert upkeep.tidy(tmp_path, drop=rows[4].settings_id).images_dropped == 4
    assert set(SyntheticStore(tmp_path).keys()) == set(keep.keys)


def test_export_writes_an_image_folder_and_nothing_outside_it(tmp_path: Path) -> None:
    told = [Told("a star", "../../star"), Told("a circle", "circle")]
    plan = even_plan(told, 2, SamplingSettings.of(CARD), 0)
    SyntheticStore(tmp_path / "store").add(drawn(plan))
    assert upkeep.export(tmp_path / "store", tmp_path / "out") == 4
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["______star", "circle", "metadata.jsonl"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert sorted(row["label"] for row in rows) == ["../../star"] * 2 + ["circle"] * 2
    assert all((tmp_path / "out" / row["file_name"]).is_file() for row in rows)
    with pytest.raises(StoreError, match="not an empty folder"):
        upkeep.export(tmp_path / "store", tmp_path / "out")


def test_a_file_in_place_of_a_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        SyntheticStore(tmp_path / "store")


def test_a_training_set_is_read_from_a_store_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(6)
    store = SyntheticStore(tmp_path)
    store.add(drawn(plan))
    in_memory = store.images(plan, 32, ["star", "circle"])
    monkeypatch.setattr(decoding, "MAPPED_BYTES", 100)
    mapped, unwritable, refused = decoding.tempfile.TemporaryFile, [], []

    def read_only(dir: Path | None = None) -> Any:
        if dir in unwritable:
            refused.append(dir)
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return mapped(dir=dir)

    monkeypatch.setattr(decoding.tempfile, "TemporaryFile", read_only)
    for place in (tmp_path, None):  # the store's disk; then no disk takes it
        unwritable.append(place)
        images = store.images(plan, 32, ["star", "circle"])
        assert torch.equal(images.pixels, in_memory.pixels)
    assert refused == [tmp_path, tmp_path, None]
