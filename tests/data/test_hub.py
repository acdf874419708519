"""Data sets as they lie on the hub: columns, splits, configurations and labels, good and bad."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.data.rows import arrow_column, column
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.preflight import preflight

NAMES = datasets.ClassLabel(names=["cat", "dog", "fox"])
GOOD = [i % 3 for i in range(24)]
HELD_OUT = "it is ignored, other images are held out in its place"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def rows(labels: list[Any], feature: Any = NAMES, *, image: str = "image", label: str = "label") -> datasets.Dataset:
    table = {image: [{"bytes": png(i), "path": None} for i in range(len(labels))], label: labels}
    return datasets.Dataset.from_dict(table, features=datasets.Features({image: datasets.Image(), label: feature}))


def bare(image: Any, label: Any = (0, 1) * 6) -> pa.Table:
    """Return a table as other programs write it, without the library's own types."""
    return pa.table({"image": image, "label": list(label)})


def written(root: Path, splits: Mapping[str, datasets.Dataset | pa.Table | bytes]) -> RunConfig:
    for split, table in splits.items():
        path = root / f"{split}-00000-of-00001.parquet"
        if isinstance(table, bytes):
            path.write_bytes(table)
        elif isinstance(table, pa.Table):
            pq.write_table(table, path)
        else:
            table.to_parquet(path)
    return RunConfig(dataset=f"hub:{root}", method="fedavg", rounds=1, clients=1, partition="iid")


def loaded(root: Path, **splits: datasets.Dataset | pa.Table | bytes) -> Source:
    config = written(root, splits)
    preflight(config)
    return load_source(config)


def test_the_usual_names_are_no_trouble(tmp_path: Path) -> None:
    source = loaded(tmp_path, train=rows(GOOD), test=rows(GOOD))
    assert source.classes == ("cat", "dog", "fox")
    assert [len(split) for split in (source.private, source.validation, source.test)] == [21, 3, 24]
    assert source.test["label"][:] == GOOD
    assert [source.test[i]["image"].getpixel((0, 0)) for i in (0, 7)] == [(0, 0, 0), (7, 0, 0)]


@pytest.mark.parametrize(
    ("labels", "feature", "expected"),
    [
        ([i % 12 for i in range(48)], datasets.Value("int64"), [str(i) for i in range(12)]),
        ([str(i % 12) for i in range(48)], datasets.Value("string"), [str(i) for i in range(12)]),
        ([float(i % 3) for i in range(24)], datasets.Value("float32"), ["0", "1", "2"]),
        ([i % 2 == 0 for i in range(24)], datasets.Value("bool"), ["False", "True"]),
        (["b", "a", "10"] * 8, datasets.Value("string"), ["10", "a", "b"]),
    ],
)
def test_labels_become_classes_in_order(labels: list[Any], feature: Any, expected: list[str], tmp_path: Path) -> None:
    source = loaded(tmp_path, train=rows(labels, feature), test=rows(labels, feature))
    assert list(source.classes) == expected
    told = [source.classes[i] for i in source.test["label"]]
    assert told == [str(int(v)) if isinstance(v, float) else str(v) for v in labels]


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([*GOOD[:-2], -1, None], NAMES),
        ([*GOOD[:-2], -1, None], datasets.Value("int64")),
        ([*map(float, GOOD[:-2]), float("nan"), None], datasets.Value("float64")),
        ([*map(str, GOOD[:-2]), "", "-1"], datasets.Value("string")),
    ],
)
def test_images_without_a_label_are_left_out_and_counted(labels: list[Any], feature: Any, tmp_path: Path) -> None:
    source = loaded(tmp_path, train=rows(labels, feature), test=rows(labels, feature))
    assert len(source.classes) == 3
    assert sorted(set(source.private["label"])) == [0, 1, 2]
    assert source.test["label"][:] == GOOD[:-2]
    assert source.test[21]["image"].getpixel((0, 0)) == (21, 0, 0)
    assert source.notes == tuple(f"2 of 24 {s} images have no label and are left out" for s in ("train", "test"))


@pytest.mark.parametrize("feature", [NAMES, datasets.Value("int64")], ids=["names", "integers"])
@pytest.mark.parametrize("missing", [-1, None])
def test_a_split_with_hidden_labels_is_ignored(feature: Any, missing: int | None, tmp_path: Path) -> None:
    source = loaded(tmp_path, train=rows(GOOD, feature), test=rows([missing] * 9, feature))
    assert len(source.classes) == 3
    # Of 8 images a class, round(0.2 * 8) = 2 are held out for test, then round(0.1 * 6) = 1 for validation.
    assert [len(split) for split in (source.private, source.validation, source.test)] == [15, 3, 6]
    assert source.notes == (f"the test split has no labels (all 9 are missing or negative): {HELD_OUT}",)


def test_labels_out_of_range_are_no_labels(tmp_path: Path) -> None:
    table = rows(GOOD).data.table
    odd = table.set_column(1, "label", pa.array([7, *GOOD[1:]], pa.int64()))
    schema = rows(GOOD).features.arrow_schema
    source = loaded(tmp_path, train=odd.replace_schema_metadata(schema.metadata))
    assert source.notes == ("1 of 24 train images have no label and are left out",)


def test_a_split_whose_labels_are_missing_as_a_column(tmp_path: Path) -> None:
    unlabelled = rows(GOOD).remove_columns("label")
    assert HELD_OUT in loaded(tmp_path, train=rows(GOOD), test=unlabelled).notes[0]


@pytest.mark.parametrize(
    ("names", "sizes"),
    [(("train", "valid"), [21, 3, 24]), (("train", "dev"), [21, 3, 24]), (("train", "eval"), [21, 3, 24])],
)
def test_splits_by_other_names(names: tuple[str, ...], sizes: list[int], tmp_path: Path) -> None:
    source = loaded(tmp_path, **{name: rows(GOOD) for name in names})
    assert [len(split) for split in (source.private, source.validation, source.test)] == sizes


@pytest.mark.parametrize(
    "image",
    [[png(i) for i in range(12)], [{"bytes": png(i), "path": "a.png"} for i in range(12)]],
    ids=["bytes", "records"],
)
def test_images_as_bytes(image: list[Any], tmp_path: Path) -> None:
    source = loaded(tmp_path, train=bare(image))
    assert source.classes == ("0", "1")
    assert source.private[0]["image"].size == (8, 8)


def test_the_column_called_image_is_taken_if_it_holds_images(tmp_path: Path) -> None:
    depth = rows(GOOD).add_column("depth", [None] * 24).cast_column("depth", datasets.Image())
    text = rows(GOOD, image="picture").add_column("image", ["a caption"] * 24)
    for name, table in (("depth", depth), ("text", text)):
        (tmp_path / name).mkdir()
        assert loaded(tmp_path / name, train=table).private[0]["image"].size == (8, 8)


def test_the_only_column_of_classes_is_the_label(tmp_path: Path) -> None:
    assert loaded(tmp_path, train=rows(GOOD, label="breed")).classes == ("cat", "dog", "fox")


def two_images() -> datasets.Dataset:
    return rows(GOOD, image="left").add_column("right", [None] * 24).cast_column("right", datasets.Image())


def two_labels() -> datasets.Dataset:
    return rows(GOOD, label="breed").add_column("species", GOOD).cast_column("species", NAMES)


LIST, REAL = datasets.List(datasets.Value("int64")), datasets.Value("float64")


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (lambda: {"test": rows(GOOD)}, r"no training split \(its splits: test\)"),
        (lambda: {"train": rows([-1] * 24), "test": rows(GOOD)}, "no label in its training split"),
        (lambda: {"train": two_images()}, r"several image columns \(left, right\)"),
        (lambda: {"train": two_labels()}, "needs a column called label"),
        (lambda: {"train": rows(GOOD).remove_columns("label")}, "needs a column called label"),
        (lambda: {"train": rows(GOOD).remove_columns("image")}, "has no image column"),
        (lambda: {"train": bare(["a.png"] * 12)}, "holds text, not images"),
        (lambda: {"train": bare([[1, 2]] * 12)}, "holds List, not images"),
        (lambda: {"train": rows([[0, 1], [1]] * 12, LIST)}, "several labels an image"),
        (lambda: {"train": rows([{"x": 1}] * 24, {"x": REAL})}, "names or numbers are needed"),
        (lambda: {"train": rows([0.5, 1.0] * 12, REAL)}, "holds 0.5, which is no class"),
        (lambda: {"train": rows([1, -1] * 12, datasets.Value("int64"))}, "one class, '1'.*12 of 24 train images"),
        (lambda: {"train": rows([1] * 24)}, "one class, 'dog'"),
        (lambda: {"train": rows([0, 1, 2])}, "too few images"),
        (lambda: {"train": b"PAR1 no parquet"}, "cannot load the data set .*arquet"),
        (lambda: {"train": b""}, "cannot load the data set"),
        (lambda: {"train": rows(GOOD), "test": rows(GOOD, label="labels")}, "column names don't match"),
        (lambda: {"train": rows(GOOD), "test": bare([b""] * 6, [0, 1] * 3)}, "cannot load|none of the 6 test images"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(splits: Callable[[], dict[str, Any]], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as caught:
        loaded(tmp_path, **splits())
    assert "\n" not in str(caught.value)


def test_a_configuration_is_named_by_a_key(tmp_path: Path) -> None:
    for name, count in (("small", 24), ("large", 48), ("extra", 24)):
        (tmp_path / name).mkdir()
        rows([i % 3 for i in range(count)]).to_parquet(tmp_path / name / "train.parquet")
    listed = "\n".join(
        f"- config_name: {name}\n  data_files: {name}/train.parquet" for name in ("small", "large", "extra")
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{listed}\n---\n")
    place = f"hub:{tmp_path}"
    source = load_source(RunConfig(dataset=place, dataset_config="large"))
    assert sum(map(len, (source.private, source.validation, source.test))) == 48
    with pytest.raises(DataError, match="set dataset-config to one of them: small, large, extra"):
        load_source(RunConfig(dataset=place))
    with pytest.raises(DataError, match=r"dataset-config = 'larg': .*it has small, large, extra"):
        load_source(RunConfig(dataset=place, dataset_config="larg"))
    with pytest.raises(ConfigError, match="dataset-config is for data sets of the hub"):
        RunConfig.parse({"dataset": "world", "dataset-config": "large"})


def test_missing_images_are_left_out_later_and_refused_if_there_are_no_others(tmp_path: Path) -> None:
    some = [{"bytes": png(i) if i % 3 else None, "path": None} for i in range(12)]
    none = [{"bytes": None, "path": None}] * 12
    for name, image in (("some", some), ("none", none)):
        (tmp_path / name).mkdir()
        config = written(tmp_path / name, {"train": bare([{"bytes": png(0), "path": None}] * 12), "test": bare(image)})
        if name == "some":
            preflight(config)
        else:
            with pytest.raises(DataError, match="none of the 12 test images can be read; the first: image 0: there is"):
                preflight(config)


def test_classes_are_counted_by_hand(tmp_path: Path) -> None:
    source = loaded(tmp_path, train=rows([0, 1] * 12), test=rows(GOOD))
    assert np.bincount(source.private["label"], minlength=3).tolist() == [11, 11, 0]
    assert source.notes == ("no training image shows 'fox'", "no validation image shows 'fox'")


def test_columns_are_named_by_keys(tmp_path: Path) -> None:
    table = {
        "scan": [{"bytes": png(i), "path": None} for i in range(24)],
        "thumbnail": [{"bytes": png(99), "path": None}] * 24,
        "finding": ["b", "a"] * 12,
        "site": ["north", "south", "east"] * 8,
        "report": [f"report {i}" for i in range(24)],
    }
    columns = datasets.Features(
        scan=datasets.Image(), thumbnail=datasets.Image(), **dict.fromkeys(list(table)[2:], datasets.Value("string"))
    )
    part = datasets.Dataset.from_dict(table, features=columns)
    config = written(tmp_path, {"train": part, "test": part})
    with pytest.raises(DataError, match="several image columns"):
        load_source(config)
    told = {"image_column": "scan", "label_column": "finding", "domain_column": "site", "caption_column": "report"}
    source = load_source(config.model_copy(update=told))
    assert (source.classes, source.domains) == (("a", "b"), ("east", "north", "south"))
    row = source.test[5]
    assert (row["image"].getpixel((0, 0)), row["label"], row["domain"], row["caption"]) == ((5, 0, 0), 0, 0, "report 5")
    with pytest.raises(DataError, match="has no column 'x-ray'; its columns are"):
        load_source(config.model_copy(update=told | {"image_column": "x-ray"}))


def test_a_revision_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*place: Any, revision: str | None) -> dict[str, datasets.Dataset]:
        asked.append((*place, revision))
        return {"train": rows(GOOD)}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load_source(RunConfig(dataset="hub:some/data", dataset_revision="v1.2", dataset_config="large"))
    assert asked == [("some/data", "large", "v1.2")]


def test_labels_of_many_rows_are_read_at_once() -> None:
    backwards = list(range(19_999, 0, -1))
    many = datasets.Dataset.from_dict({"label": list(range(20_000))}).select(backwards)
    began = time.perf_counter()
    assert column(many, "label").tolist() == arrow_column(many, "label").to_pylist() == backwards
    both = time.perf_counter() - began
    began = time.perf_counter()
    assert np.asarray(many["label"]).tolist() == backwards
    assert both < (time.perf_counter() - began) / 2
