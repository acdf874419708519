"""Every built-in data set and partition, and those of the examples and of docs/extending.md."""

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from fgl_flower.data import folders
from fgl_flower.extension_points import DATASET, PARTITION
from tests.conformance.data import DatasetSuite, PartitionSuite
from tests.pictures import put


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", base / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def class_folders(path: Path) -> None:
    """Write a folder a class, a file that is no image, and no split."""
    for label in range(2):
        for i in range(6):
            put(path / f"class {label}" / f"{i}.png", 10 * label + i)
    (path / "class 0" / "notes.txt").write_text("no image", encoding="utf-8")


def parquet(path: Path) -> None:
    """Write what `datasets.load_dataset` opens; hub data sets come in this form."""
    pictures = [Image.new("RGB", (8, 8), (i, i, i)) for i in range(20)]
    columns = {"img": pictures, "fine_label": ["b", "a"] * 10, "style": ["photo", "photo", "sketch", "sketch"] * 5}
    features = datasets.Features(
        img=datasets.Image(), fine_label=datasets.Value("string"), style=datasets.Value("string")
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path / "train-00000.parquet")


def domainnet(path: Path) -> None:
    """Write three classes of DomainNet."""
    for domain in folders.DOMAINNET_DOMAINS:
        for split, count in (("train", 3), ("test", 1)):
            lines = []
            for name, number in (("airplane", 1), ("axe", 11), ("bracelet", 39)):
                for i in range(count):
                    put(path / f"{domain}/{name}/{split} {i}.jpg", i)
                    lines.append(f"{domain}/{name}/{split} {i}.jpg {number}")
            (path / f"{domain}_{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def imagenet(classes: int) -> Callable[[Path], None]:
    """Return what writes the folders of a subset of ImageNet."""

    def write(path: Path) -> None:
        for split in ("train", "val"):
            for i in range(classes):
                for j in range(2):
                    put(path / split / f"n{i:08d}" / f"{j}.JPEG", j)

    return write


def named(column: str = "image", domains: bool = False) -> Callable[[Path], None]:
    """Return what writes a copy of a named data set of the hub: the columns that its recipe looks for."""

    def write(path: Path) -> None:
        count, names = 40, ["first_class", "SecondClass"]
        table: dict[str, list[object]] = {"label": [0, 1] * (count // 2)}
        kinds = {column: datasets.Image(), "label": datasets.ClassLabel(names=names)}
        if domains:
            table["domain"], kinds["domain"] = ["photo", "photo", "art", "art"] * (count // 4), datasets.Value("string")
        for shade, split in enumerate(("train", "validation", "test")):
            table[column] = [Image.new("RGB", (8, 8), (i, i, shade)) for i in range(count)]
            rows = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
            rows.to_parquet(path / f"{split}-00000.parquet")

    return write


def medmnist(path: Path) -> None:
    """Write a file of arrays as MedMNIST's are."""
    arrays = {}
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (16, 28, 28, 3), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(16) % 8).astype(np.uint8)[:, None]
    np.savez(path / "bloodmnist.npz", **arrays)


PLACES: dict[str, Callable[[Path], None]] = {
    "folder": class_folders,
    "hub": parquet,
    "domainnet": domainnet,
    **{f"imagenet-{name}": imagenet(100 if name == "100" else 10) for name in ("nette", "fruit", "yellow", "squawk")},
    "imagenet-100": imagenet(100),
    "cifar10": named("img"),
    "pacs": named(domains=True),
    "office-home": named(domains=True),
    "eurosat": named(),
    "bloodmnist": medmnist,
}
WITHOUT = [
    *("world", "world-held-out-classes", "world-held-out-style"),
    *("world-codes", "world-jargon", "world-shifted"),
    "experiments.examples.own_dataset:digits",
]


def test_every_built_in_data_set_is_tried() -> None:
    assert {*PLACES, *WITHOUT} >= set(DATASET.builtins) - {"nodes"}  # which has no images


@pytest.mark.parametrize("dataset", WITHOUT)
class TestDatasets(DatasetSuite):
    @pytest.fixture(autouse=True)
    def _named(self, dataset: str) -> None:
        self.dataset = dataset


@pytest.fixture(scope="module")
def place(kind: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp(kind)
    PLACES[kind](folder)
    return f"{kind}:{folder / 'bloodmnist.npz' if kind == 'bloodmnist' else folder}"


@pytest.mark.parametrize("kind", PLACES, scope="module")
class TestDatasetsInPlaces(DatasetSuite):
    @pytest.fixture(autouse=True)
    def _placed(self, place: str) -> None:
        self.dataset = place


@pytest.mark.parametrize("partition", [*PARTITION.builtins, "documented_objects:halves"])
class TestPartitions(PartitionSuite):
    @pytest.fixture(autouse=True)
    def _named(self, partition: str) -> None:
        self.partition = partition
