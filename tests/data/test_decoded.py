"""Decoded images on disk: the same as in memory, made once, and gone on with after any kind of end."""

import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from fgl_flower.cache import cache_dir
from fgl_flower.data import decoded as module
from fgl_flower.data.decoded import Decoded, decoded
from fgl_flower.data.rows import Rows
from fgl_flower.errors import DataError

COUNT, DAMAGED = 11, {2: "2.png", 9: "9.png"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_PIECE", 4)


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{i}.png" for i in range(COUNT)]
    for i, file in enumerate(files):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file)
        if i in DAMAGED:
            file.write_bytes(file.read_bytes()[:70])
    columns = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    return Rows.of(
        datasets.Dataset.from_dict({"image": list(map(str, files)), "label": range(COUNT)}, features=columns)
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the images that are decoded from now on."""
    numbers: list[int] = []
    true = module.pictures

    def pictures(records: list[Any], start: int = 0) -> Any:
        numbers.extend(range(start, start + len(records)))
        return true(records, start)

    monkeypatch.setattr(module, "pictures", pictures)
    return numbers


def files(suffix: str) -> list[Path]:
    return sorted((cache_dir() / "decoded").glob(f"*{suffix}"))


def same(one: Decoded, other: Decoded) -> bool:
    return (
        np.array_equal(one.pixels, other.pixels)
        and np.array_equal(one.rows, other.rows)
        and (one.unread == other.unread)
    )


def test_few_images_stay_in_memory_and_touch_no_disk(rows: Rows) -> None:
    read = decoded(rows, 16)
    assert read.pixels.shape == (COUNT - 2, 16, 16, 3)
    assert read.rows.tolist() == [i for i in range(COUNT) if i not in DAMAGED]
    assert {i: sentence.split("/")[-1].split(":")[0] for i, sentence in read.unread.items()} == DAMAGED
    assert read.path is None
    assert not cache_dir().exists()


def test_on_disk_they_are_the_same_and_are_decoded_once(
    rows: Rows, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = decoded(rows, 16)
    opened.clear()
    monkeypatch.setattr(module, "MAPPED_BYTES", 0)
    told: list[tuple[int, int]] = []
    for _ in range(2):
        read = decoded(rows, 16, progress=lambda done, total: told.append((done, total)))
        assert read.path is not None
        assert same(read, in_memory)
    assert opened == list(range(COUNT))
    assert told == [(4, 11), (8, 11), (11, 11), (11, 11)]
    read.release()
    assert same(read, in_memory), "pages that were let go are read again"
    assert not read.pixels.flags.writeable


def test_another_size_or_another_file_is_another_entry(rows: Rows, tmp_path: Path) -> None:
    decoded(rows, 16, keep=True)
    decoded(rows, 17, keep=True)
    assert len(files(".pixels")) == 2
    Image.new("RGB", (20, 20), "red").save(tmp_path / "0.png")
    assert decoded(rows, 16, keep=True).pixels[0].tolist() == np.full((16, 16, 3), (255, 0, 0)).tolist()
    assert len(files(".pixels")) == 3


def test_an_interrupted_decoding_goes_on(rows: Rows, opened: list[int]) -> None:
    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(rows, 16, keep=True, progress=stop)
    opened.clear()
    assert same(decoded(rows, 16, keep=True), decoded(rows, 16))
    assert opened[:3] == [8, 9, 10], "what the journal vouches for is not decoded again"


def _half_a_line(pixels: Path, journal: Path) -> None:
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:1]) + lines[1][:9])


def _pixels_cut_off(pixels: Path, journal: Path) -> None:
    pixels.write_bytes(pixels.read_bytes()[:100])


def _no_pixels(pixels: Path, journal: Path) -> None:
    pixels.unlink()


def _no_journal(pixels: Path, journal: Path) -> None:
    journal.unlink()


def _nonsense(pixels: Path, journal: Path) -> None:
    journal.write_text(json.dumps({"done": 11, "kept": 11, "unread": [[1, "x"]]}) + "\n")


@pytest.mark.parametrize("harm", [_half_a_line, _pixels_cut_off, _no_pixels, _no_journal, _nonsense])
def test_what_is_damaged_or_missing_is_made_again(rows: Rows, harm: Callable[[Path, Path], None]) -> None:
    decoded(rows, 16, keep=True)
    harm(files(".pixels")[0], files(".jsonl")[0])
    for _ in range(2):
        assert same(decoded(rows, 16, keep=True), decoded(rows, 16))


def test_who_wants_the_same_images_waits_for_them(rows: Rows, opened: list[int]) -> None:
    results: list[Decoded] = []
    threads = [threading.Thread(target=lambda: results.append(decoded(rows, 16, keep=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == list(range(COUNT))
    assert all(same(one, results[0]) for one in results)
    assert len(results) == 4


def test_none_that_can_be_read_is_an_answer(rows: Rows) -> None:
    read = decoded(rows.select([2, 9]), 16, keep=True)
    assert (read.pixels.shape, len(read.rows), len(read.unread)) == ((0, 16, 16, 3), 0, 2)
    assert decoded(rows.select([]), 16, keep=True).pixels.shape == (0, 16, 16, 3)


def test_another_process_gets_the_name_of_the_file(rows: Rows) -> None:
    read = decoded(rows, 64, keep=True)
    content = pickle.dumps(read)
    assert len(content) < read.pixels.nbytes / 10
    assert same(pickle.loads(content), read)
    assert same(pickle.loads(pickle.dumps(decoded(rows, 16))), decoded(rows, 16))
    files(".pixels")[0].unlink()
    assert pickle.loads(content) is None, "on another machine there may be no such file"
    assert read.pixels.sum() > 0, "a file that is mapped outlives its name"


def test_the_longest_unused_make_room(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, size in enumerate((16, 17, 18)):
        decoded(rows, size, keep=True)
        for path in (*files(".pixels"), *files(".jsonl")):
            if path.stat().st_mtime > 1000:
                import os

                os.utime(path, (i, i))
    decoded(rows, 16, keep=True)  # used again: 17 is now the oldest
    held = len(files(".pixels"))
    free = iter([0, 0, 2 * module._RESERVE])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    told: list[str] = []
    monkeypatch.setattr(module, "log", lambda level, text, path: told.append(text % path))
    decoded(rows, 19, keep=True)
    assert held == 3
    assert len(told) == 2
    assert all("make room on the disk: " in line for line in told)
    sizes = sorted(round((path.stat().st_size / 3 / (COUNT - 2)) ** 0.5) for path in files(".pixels"))
    assert sizes == [16, 19]
    assert len(files(".jsonl")) == 2


def test_without_room_they_stay_in_memory_or_are_refused(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAPPED_BYTES", 0)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert decoded(rows, 16).path is None
    need = COUNT * 3 * 16**2
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=need))
    with pytest.raises(DataError, match=r"11 decoded images of 16 px take .* XDG_CACHE_HOME"):
        decoded(rows, 16)
