"""What a data set of many images takes in memory, and that images of the hub stay where they lie."""

import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.data.folders import class_folders
from fgl_flower.data.paths import Files, Paths
from fgl_flower.data.rows import FileTable, Rows
from fgl_flower.data.sources import Source, load_source

CLASSES, MANY, FEW = 10, 5_000, 40
CONSTANT = 250_000  # bytes that do not depend on the number of images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", tmp_path / "hf-modules")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, count: int) -> str:
    root.mkdir()
    first = root / "first.png"
    first.write_bytes(png())
    for split, images in (("train", count), ("validation", FEW), ("test", FEW)):
        for label in range(CLASSES):
            (root / split / f"class{label}").mkdir(parents=True)
        for i in range(images):
            os.link(first, root / split / f"class{i % CLASSES}" / f"{i:06}.png")
    return f"folder:{root}"


def parquet(root: Path, count: int) -> str:
    root.mkdir()
    for split, images in (("train", count), ("validation", FEW), ("test", FEW)):
        numbers = range(images)
        table = {
            "image": pa.array([{"bytes": png(), "path": None}] * images),
            "label": [f"class{i % CLASSES}" for i in numbers],
            "domain": [f"site{i % 4}" for i in numbers],
            "caption": [f"picture {i} of class{i % CLASSES}, which is seen from the left side" for i in numbers],
        }
        pq.write_table(pa.table(table), root / f"{split}-00000-of-00001.parquet")
    return f"hub:{root}"


def load(place: str) -> Source:
    return load_source(RunConfig(dataset=place, clients=1))


@pytest.mark.parametrize(("make", "most"), [(folder, 300), (parquet, 100)])
def test_an_image_of_many_takes_some_bytes_not_python_objects(
    make: Callable[[Path, int], str], most: int, tmp_path: Path
) -> None:
    load(make(tmp_path / "few", FEW))  # imports and caches of the libraries
    place, arrow = make(tmp_path / "many", MANY), pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        source = load(place)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kept += pa.total_allocated_bytes() - arrow
    assert len(source.private) == MANY
    assert kept < CONSTANT + 150 * MANY
    assert peak < CONSTANT + most * MANY


def test_images_and_captions_of_the_hub_are_not_written_anew(tmp_path: Path) -> None:
    source = load(parquet(tmp_path / "data", FEW))
    assert source.private[7]["caption"] == "picture 7 of class7, which is seen from the left side"
    assert (source.private[7]["label"], source.private[7]["domain"]) == (7, 3)
    written = list((tmp_path / "hf-cache").rglob("*.arrow"))
    assert sorted({path.name.rpartition("-")[2] for path in written}) == [
        "test.arrow",
        "train.arrow",
        "validation.arrow",
    ]
    assert len(written) == 3


def test_paths_are_as_a_list_of_them() -> None:
    parts = [["/a/é.png", "/a/b c.jpg"], [], ["/z/日本.png"]]
    paths = Paths.joined(map(Paths, parts))
    flat = [path for part in parts for path in part]
    assert list(paths) == [paths[i] for i in range(len(paths))] == paths.arrow().to_pylist() == flat
    assert list(paths.select(np.array([0, 2]))) == [flat[0], flat[2]]


def test_images_of_a_class_are_in_the_order_of_their_folders(tmp_path: Path) -> None:
    for name in ("b/1.png", "b-2/1.png", "b/c/0.png", "b.png", "B/1.png", "a.png"):
        path = tmp_path / "train" / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    _, entries, _ = class_folders(tmp_path)
    assert list(map(Path, entries["train"].paths)) == sorted((tmp_path / "train").rglob("*.png"))


def test_a_table_of_files_says_the_same_as_its_data_set() -> None:
    files = Files(Paths(["/a.png", "/b.png", "/c.png"]), np.array([2, 0, 1]), np.array([0, -1, 0]))
    table = FileTable(files, ("x", "y", "z"), ("photo",))
    same = Rows.of(table.dataset)
    rows = Rows.all_of(table)
    assert rows.records() == same.records() == [{"bytes": None, "path": path} for path in files.paths]
    assert rows.labels.tolist() == same.labels.tolist() == [2, 0, 1]
    assert rows.domains.tolist() == same.domains.tolist() == [0, -1, 0]
    assert table.dataset["caption"][:] == ["", "", ""]
