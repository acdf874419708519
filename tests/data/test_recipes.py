"""Named data sets: copies on this disk in the very format of the hub's, and what is asked of the hub itself."""

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fgl_flower.config import RunConfig
from fgl_flower.data.recipes import RECIPES, words
from fgl_flower.data.sources import load_source
from fgl_flower.errors import DataError
from fgl_flower.preflight import preflight

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PACS = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
PACS_DOMAINS = ["photo", "art_painting", "cartoon", "sketch"]
OFFICE = ["Alarm_Clock", "Backpack", "TV", "ToothBrush"]
OFFICE_DOMAINS = ["Art", "Clipart", "Product", "Real World"]
EUROSAT = ["AnnualCrop", "Forest", "HerbaceousVegetation", "SeaLake"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def split(names: list[str], count: int, image: str = "image", **more: tuple[Any, list[Any]]) -> datasets.Dataset:
    columns = {image: datasets.Image(), "label": datasets.ClassLabel(names=names)}
    pictures = [Image.new("RGB", (32, 32), (i, 0, 0)) for i in range(count)]
    table = {image: pictures, "label": [i % len(names) for i in range(count)]}
    features = datasets.Features({**columns, **{name: feature for name, (feature, _) in more.items()}})
    return datasets.Dataset.from_dict({**table, **{name: values for name, (_, values) in more.items()}}, features)


def in_domains(names: list[str], domains: list[str]) -> datasets.Dataset:
    count = len(names) * len(domains) * 5
    return split(names, count, domain=(datasets.Value("string"), [domains[i // len(names) % 4] for i in range(count)]))


def load(path: Path, name: str, **splits: datasets.Dataset) -> Any:
    for key, dataset in splits.items():
        (path / "data").mkdir(exist_ok=True)
        dataset.to_parquet(path / "data" / f"{key}-00000-of-00001.parquet")
    config = RunConfig(dataset=f"{name}:{path}", clients=2)
    preflight(config)
    return load_source(config)


def test_cifar10(tmp_path: Path) -> None:
    source = load(tmp_path, "cifar10", train=split(CIFAR, 60, "img"), test=split(CIFAR, 20, "img"))
    assert list(source.classes) == CIFAR
    assert [len(part) for part in (source.private, source.validation, source.test)] == [50, 10, 20]
    assert source.test[7]["image"].getpixel((0, 0)) == (7, 0, 0)


def test_pacs_has_four_domains_and_one_split(tmp_path: Path) -> None:
    source = load(tmp_path, "pacs", train=in_domains(PACS, PACS_DOMAINS))
    assert list(source.classes) == PACS
    assert source.domains == ("art painting", "cartoon", "photo", "sketch")
    # Of five images a class and domain one is held out for test, then of four one for validation.
    assert [len(part) for part in (source.private, source.validation, source.test)] == [84, 28, 28]


def test_office_home_is_told_in_words(tmp_path: Path) -> None:
    source = load(tmp_path, "office-home", train=in_domains(OFFICE, OFFICE_DOMAINS))
    assert source.classes == ("alarm clock", "backpack", "TV", "tooth brush")
    assert source.domains == ("art", "clipart", "product", "real world")


def test_eurosat_has_its_own_validation_images(tmp_path: Path) -> None:
    ids = {"image_id": (datasets.Value("string"), [str(i) for i in range(12)])}
    parts = {name: split(EUROSAT, 12, **ids) for name in ("train", "validation", "test")}
    source = load(tmp_path, "eurosat", **parts)
    assert source.classes == ("annual crop", "forest", "herbaceous vegetation", "sea lake")
    assert [len(part) for part in (source.private, source.validation, source.test)] == [12, 12, 12]


def npz(path: Path, **more: np.ndarray) -> str:
    rng, arrays = np.random.default_rng(0), dict[str, np.ndarray]()
    for name, count in (("train", 24), ("val", 8), ("test", 16)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{name}_labels"] = (np.arange(count) % 8).astype(np.uint8)[:, None]
    np.savez(path, **{**arrays, **more})
    return f"bloodmnist:{path}"


def test_a_file_of_medmnist(tmp_path: Path) -> None:
    config = RunConfig(dataset=npz(tmp_path / "bloodmnist.npz"), clients=2)
    preflight(config)
    source = load_source(config)
    assert source.classes[3] == "immature granulocyte"
    assert [len(part) for part in (source.private, source.validation, source.test)] == [24, 8, 16]
    with np.load(tmp_path / "bloodmnist.npz") as arrays:
        assert np.array_equal(np.asarray(source.test[5]["image"]), arrays["test_images"][5])
        assert source.test["label"][:] == arrays["test_labels"][:, 0].tolist()


@pytest.mark.parametrize(
    "harm", [{"val_labels": np.array([0], np.uint8)}, {"val_labels": np.full((8, 1), 9)}, {"val_images": np.zeros(8)}]
)
def test_no_file_of_medmnist(harm: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file of MedMNIST"):
        load_source(RunConfig(dataset=npz(tmp_path / "b.npz", **harm), clients=2))
    with pytest.raises(DataError, match="is no file of MedMNIST"):
        load_source(RunConfig(dataset=f"bloodmnist:{tmp_path / 'gone.npz'}", clients=2))


@pytest.mark.parametrize(("name", "hub_id"), [(name, recipe.hub_id) for name, recipe in RECIPES.items()])
def test_without_a_path_the_hub_is_asked_and_a_failure_is_one_sentence(
    name: str, hub_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def refuse(*place: Any, revision: str, **more: Any) -> None:
        asked.append((place[0], revision))
        raise ConnectionError("the hub cannot be reached")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(DataError, match=hub_id) as error:
        load_source(RunConfig(dataset=name, dataset_revision="abc"))
    assert asked == [(hub_id, "abc")]
    assert "the hub cannot be reached" in str(error.value)


def test_names_become_words() -> None:
    told = {"Alarm_Clock": "alarm clock", "SeaLake": "sea lake", "TV": "TV", "cat": "cat", "Real World": "real world"}
    assert {name: words(name) for name in told} == told


@pytest.mark.parametrize("key", ["dataset_config", "dataset_revision", "image_column", "label_column"])
def test_keys_of_the_hub_go_with_no_other_data(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=f"{key.replace('_', '-')} is for data sets of the hub"):
        RunConfig(**{"dataset": f"folder:{tmp_path}", key: "x"})
