"""Folders as people have them: hidden and system files, odd names of splits, links, and what is left out is counted."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.data.folders import class_folders, domainnet
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import DataError
from fgl_flower.preflight import preflight


def put(folder: Path, count: int = 4, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (16, 16), (40 * i, 0, 0)).save(folder / f"{i}{suffix}")


def splits(root: Path, *names: str) -> None:
    for name in names:
        for label in ("cat", "dog"):
            put(root / name / label)


def counts(root: Path) -> dict[str, int]:
    return {split: len(entries) for split, entries in class_folders(root)[1].items()}


def source_of(root: Path) -> Source:
    return load_source(RunConfig(dataset=f"folder:{root}", clients=1))


def test_hidden_names_and_system_files_are_no_data(tmp_path: Path) -> None:
    splits(tmp_path, "train", "test")
    for split in ("train", "test"):
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found"):
            put(tmp_path / split / name)
            put(tmp_path / split / "cat" / name)
        for name in ("._000.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / split / "dog" / name).write_bytes(b"\x00\x05\x16\x07")
            (tmp_path / split / name).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "train" / "empty").mkdir()
    classes, entries, notes = class_folders(tmp_path)
    assert classes == ("cat", "dog")
    assert {split: len(found) for split, found in entries.items()} == {"train": 8, "test": 8}
    assert notes == ()


def test_other_files_are_counted(tmp_path: Path) -> None:
    splits(tmp_path, "train", "test")
    put(tmp_path / "train", 3)
    for name in ("a.txt", "b.txt", "c.heic", "LICENSE"):
        (tmp_path / "train" / "cat" / name).write_text("no image")
    put(tmp_path / "extra" / "cat")
    assert source_of(tmp_path).notes == (
        "folders beside train/ are left out: extra",
        "files under train/ that are no images are left out: 4 (.txt 2, .heic 1, no suffix 1)",
        "images in train/ that lie in no class folder are left out: 3",
    )


def test_every_raster_format_that_can_be_read_is_an_image(tmp_path: Path) -> None:
    suffixes = (".png", ".JPG", ".jp2", ".webp", ".tif", ".tga", ".jfif", ".gif", ".ico")
    for suffix in suffixes:
        put(tmp_path / "a" / suffix[1:], 1, suffix)
    assert counts(tmp_path) == {"train": len(suffixes)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Train", "Test", "Valid"), {"train": 8, "test": 8, "validation": 8}),
        (("training", "testing", "val"), {"train": 8, "test": 8, "validation": 8}),
        (("train", "eval"), {"train": 8, "validation": 8}),
        (("TRAIN", "dev"), {"train": 8, "validation": 8}),
    ],
)
def test_splits_by_other_names(names: tuple[str, ...], expected: dict[str, int], tmp_path: Path) -> None:
    splits(tmp_path, *names)
    assert class_folders(tmp_path)[0] == ("cat", "dog")
    assert counts(tmp_path) == expected


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        put(tmp_path / name)
    assert class_folders(tmp_path)[0] == ("bus", "train")


def test_a_test_folder_without_class_folders_is_no_split(tmp_path: Path) -> None:
    splits(tmp_path, "train")
    put(tmp_path / "test")
    assert counts(tmp_path) == {"train": 8}
    assert "folders beside train/ are left out: test" in source_of(tmp_path).notes


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("train", "val", "validation"), "val/ and validation/, both of which are the validation split"),
        (("train", "Train"), "Train/ and train/, both of which are the train split"),
        (("test", "val"), "test/ and val/ but no folder train/"),
    ],
)
def test_splits_that_cannot_be_told_are_refused(names: tuple[str, ...], says: str, tmp_path: Path) -> None:
    splits(tmp_path, *names)
    with pytest.raises(DataError, match=says):
        class_folders(tmp_path)


def test_links_neither_hang_nor_multiply_images(tmp_path: Path) -> None:
    splits(tmp_path, "train", "test")
    train = tmp_path / "train"
    (train / "loop").symlink_to(train)
    (train / "self").symlink_to("self")
    (train / "cat" / "up").symlink_to("..")
    (train / "cat" / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(train / "cat" / "pipe.png")
    (train / "dog" / "gone.png").symlink_to("nowhere.png")  # an image that is missing: opening it will tell
    put(tmp_path / "elsewhere")
    (train / "fox").symlink_to(tmp_path / "elsewhere")  # a class may lie elsewhere
    classes, entries, notes = class_folders(tmp_path)
    assert classes == ("cat", "dog", "fox")
    assert np.bincount(entries["train"].labels).tolist() == [4, 5, 4]
    assert "files under train/ that are no images are left out: 2 (.png 2)" in notes


def test_one_accent_spelled_two_ways_is_one_class(tmp_path: Path) -> None:
    for form, split in (("NFC", "train"), ("NFD", "test")):
        for name in ("café", "dog"):
            put(tmp_path / split / unicodedata.normalize(form, name))
    assert class_folders(tmp_path)[0] == ("café", "dog")
    assert counts(tmp_path) == {"train": 8, "test": 8}


def test_names_that_are_not_utf8_are_counted_or_refused(tmp_path: Path) -> None:
    splits(tmp_path, "train", "test")
    try:
        (tmp_path / "train" / "cat" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert any("names that are not UTF-8 1" in note for note in source_of(tmp_path).notes)
    (tmp_path / "train" / os.fsdecode(b"\xff")).mkdir()
    with pytest.raises(DataError, match="not UTF-8"):
        class_folders(tmp_path)


def test_classes_that_some_split_lacks_are_named(tmp_path: Path) -> None:
    splits(tmp_path, "train", "validation", "test")
    for split in ("train", "validation"):
        put(tmp_path / split / "Cat")
        put(tmp_path / split / "fox")
    assert source_of(tmp_path).notes == (
        "no test image shows 'Cat', 'fox'",
        "'Cat' and 'cat' differ only in case or spaces, yet are different classes",
    )


def spoil(root: Path, split: str) -> None:
    for file in (root / split).rglob("*.png"):
        file.write_bytes(file.read_bytes()[:50])


def only_two_images(root: Path) -> None:
    for label in ("cat", "dog"):
        put(root / label, 1)


def empty_test(root: Path) -> None:
    splits(root, "train", "validation")
    spoil(root, "validation")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (only_two_images, "too few images"),
        (empty_test, "none of the 8 test images can be read; the first: validation/cat/0.png: "),
        (lambda root: splits(root, "data/train"), "has one class, 'data'"),
    ],
)
def test_data_that_cannot_be_used_is_refused_before_anything_is_spent(
    build: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    build(tmp_path)
    with pytest.raises(DataError, match=says):
        preflight(RunConfig(dataset=f"folder:{tmp_path}", method="fedavg", rounds=1, clients=1, partition="iid"))


@pytest.mark.parametrize("line", ["clipart/a.png -1", "clipart/a.png ²", "clipart/a.png"])
def test_lists_with_odd_labels_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "clipart_train.txt").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        domainnet(tmp_path)
    (tmp_path / "clipart_train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        domainnet(tmp_path)
