"""Every kind of data set becomes the same three splits, and what is missing is told in one sentence."""

from pathlib import Path
from types import ModuleType

import datasets
import numpy as np
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.data import folders, imagenet, shapes, world, worlds
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError

COLUMNS = ["image", "label", "domain", "caption"]


def small_world(**changes: object) -> RunConfig:
    return RunConfig(**{"private_images": 120, "validation_images": 60, "test_images": 60, "clients": 5, **changes})


def put(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (shade, 0, 0)).save(path)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path_factory.getbasetemp()  # shared by the tests of a session, never the user's own
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", base / "hf-cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_world_has_every_class_and_style_equally_often() -> None:
    source = load_source(small_world())
    assert [len(s) for s in (source.private, source.validation, source.test)] == [120, 60, 60]
    assert source.private.column_names == COLUMNS
    pairs = np.stack([source.private["label"], source.private["domain"]], axis=1)
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert counts.tolist() == [2] * 60
    first = source.private[0]
    assert first["image"].size == (32, 32)
    assert source.classes[first["label"]] in first["caption"]
    assert source.domains[first["domain"]] in first["caption"]


def test_world_is_loaded_once_and_its_splits_share_no_image() -> None:
    source = load_source(small_world())
    assert load_source(small_world(seed=7)) is source
    seen = [{np.asarray(i).tobytes() for i in split["image"]} for split in (source.private, source.validation)]
    assert not seen[0] & seen[1]


@pytest.mark.parametrize(
    ("kind", "classes", "domains"), [("world-held-out-classes", 12, 6), ("world-held-out-style", 10, 7)]
)
def test_held_out_worlds_show_what_the_public_split_does_not(kind: str, classes: int, domains: int) -> None:
    source = load_source(small_world(dataset=kind, private_images=84))
    assert (len(source.classes), len(source.domains)) == (classes, domains)
    assert set(source.private["label"]) == set(range(classes))
    assert set(source.private["domain"]) == set(range(domains))


def test_world_comes_back_from_the_cache_bit_for_bit_and_survives_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn = worlds._draw("world", "validation", 60, 3)
    first, second = (worlds.load_split("world", "validation", 60, seed=3) for _ in range(2))
    assert first[:] == second[:] == drawn[:]
    assert second.features == drawn.features
    (file,) = (tmp_path / "fgl-flower").iterdir()
    assert file.match("world-validation-60-*.parquet")
    file.write_bytes(b"not parquet")
    assert worlds.load_split("world", "validation", 60, seed=3)[:] == drawn[:]
    assert list(worlds.cache_dir().iterdir()) == [file]


@pytest.mark.parametrize("module", [shapes, world], ids=["shapes", "world"])
def test_another_version_of_what_draws_never_reads_the_cache(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    worlds.load_split("world", "test", 6)
    assert module.__file__ is not None
    other = tmp_path / "other.py"
    other.write_text(Path(module.__file__).read_text(encoding="utf-8") + "# another version", encoding="utf-8")
    for file, count in ((module.__file__, 1), (str(other), 2)):
        monkeypatch.setattr(module, "__file__", file)
        worlds.load_split("world", "test", 6)
        assert len(list(worlds.cache_dir().glob("*.parquet"))) == count


def test_a_cache_that_cannot_be_written_is_no_error_but_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert len(worlds.load_split("world", "test", 6)) == 6
    (told,) = [record.message for record in caplog.records if record.name == worlds.__name__]
    assert str(tmp_path / "file") in told
    assert "drawn anew" in told


def test_a_user_without_a_home_folder_has_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert worlds.cache_dir() == tmp_path / ".cache/fgl-flower"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert worlds.cache_dir().parent == tmp_path


def test_folder_with_splits(tmp_path: Path) -> None:
    for split, count in (("train", 10), ("valid", 2), ("test", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                put(tmp_path / split / name / f"{i}.png")
    source = load_source(RunConfig(dataset=f"folder:{tmp_path}"))
    assert source.classes == ("cat", "dog")
    assert source.domains == ("photo",)
    assert [len(s) for s in (source.private, source.validation, source.test)] == [20, 4, 6]
    assert source.private[0]["image"].size == (20, 16)


def test_folder_without_splits_is_divided_by_class_and_shares_nothing(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(20):
            put(tmp_path / name / f"{i}.png")
    source = load_source(RunConfig(dataset=f"folder:{tmp_path}"))
    # Of 20 a class, 0.2 * 20 = 4 are held out for test, then round(0.1 * 16) = 2 for validation: 14 stay.
    for split, count in ((source.private, 14), (source.validation, 2), (source.test, 4)):
        assert np.bincount(split["label"]).tolist() == [count, count]
    files = [
        {r["path"] for r in s.cast_column("image", datasets.Image(decode=False))["image"]}
        for s in (source.private, source.validation, source.test)
    ]
    assert len(set.union(*files)) == 40


def test_a_given_test_split_is_never_used_for_validation(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for i in range(10):
            put(tmp_path / split / "cat" / f"{split}{i}.png")
    source = load_source(RunConfig(dataset=f"folder:{tmp_path}"))
    held = source.validation.cast_column("image", datasets.Image(decode=False))["image"]
    assert len(source.test) == 10
    assert all("train" in Path(record["path"]).name for record in held)


def test_hub_kind_opens_a_local_parquet_folder(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (8, 8), (i, i, i)) for i in range(20)]
    columns = datasets.Features(
        img=datasets.Image(), fine_label=datasets.Value("string"), style=datasets.Value("string")
    )
    made = datasets.Dataset.from_dict(
        {"img": pictures, "fine_label": ["b", "a"] * 10, "style": ["photo"] * 20}, features=columns
    )
    made.to_parquet(tmp_path / "train-00000.parquet")
    made.select(range(6)).to_parquet(tmp_path / "test-00000.parquet")
    source = load_source(RunConfig(dataset=f"hub:{tmp_path}"))
    assert source.classes == ("a", "b")
    assert source.private.column_names == COLUMNS
    assert (len(source.private), len(source.validation), len(source.test)) == (18, 2, 6)
    assert source.test["label"][:2] == [1, 0]
    assert source.test[1]["image"].getpixel((0, 0)) == (1, 1, 1)


def test_domainnet_lists(tmp_path: Path) -> None:
    label = {"airplane": 1, "bracelet": 39}
    for domain in folders.DOMAINNET_DOMAINS:
        for split, count in (("train", 4), ("test", 1)):
            lines = ["somewhere/else.jpg 200"]  # one of the 335 classes that the paper leaves out
            for name, number in label.items():
                for i in range(count):
                    file = f"{domain}/{name}/{split} {i}.jpg"
                    put(tmp_path / file)
                    lines.append(f"{file} {number}")
            (tmp_path / f"{domain}_{split}.txt").write_text("\n".join(lines) + "\n")
    source = load_source(RunConfig(dataset=f"domainnet:{tmp_path}", clients=6, partition="domain"))
    assert source.domains == folders.DOMAINNET_DOMAINS
    assert len(source.classes) == 10
    assert len(source.test) == 12
    assert set(source.test["label"]) == {source.classes.index("airplane"), source.classes.index("bracelet")}
    assert len(source.private) + len(source.validation) == 48
    assert set(source.validation["domain"]) == set(range(6))


def test_imagenet_subset_by_sorted_wordnet_ids(tmp_path: Path) -> None:
    # Class ids number the sorted WordNet ids: of ten folders the first is id 0, tench, the second 217, ...
    for split in ("train", "val"):
        for i in range(10):
            for j in range(5):
                put(tmp_path / split / f"n0{i}000000" / f"{j}.JPEG")
    source = load_source(RunConfig(dataset=f"imagenet-nette:{tmp_path}"))
    assert source.classes[:2] == ("tench", "English springer")
    first = source.test.cast_column("image", datasets.Image(decode=False))[0]
    assert (first["label"], Path(first["image"]["path"]).parent.name) == (0, "n00000000")
    assert (len(source.private), len(source.validation), len(source.test)) == (40, 10, 50)
    # Yellow is listed bee (309), lady's slipper (986), ... in the paper; the lowest of its ids is 11, goldfinch.
    yellow = load_source(RunConfig(dataset=f"imagenet-yellow:{tmp_path}")).test
    lowest = yellow.cast_column("image", datasets.Image(decode=False)).filter(lambda r: r["label"] == 9)
    assert Path(lowest[0]["image"]["path"]).parent.name == "n00000000"


def test_imagenet_subset_out_of_all_thousand_folders(tmp_path: Path) -> None:
    for i in range(1000):
        (tmp_path / "train" / f"n{i:08d}").mkdir(parents=True)
    for i in imagenet.SUBSETS["squawk"]:
        put(tmp_path / "train" / f"n{i:08d}" / "a.png")
    classes, splits, _ = imagenet.subset(tmp_path, "squawk")
    train = splits["train"]
    first = [
        (classes[label], int(Path(path).parent.name[1:])) for label, path in zip(train.labels, train.paths, strict=True)
    ]
    assert first[:2] == [("peacock", 84), ("flamingo", 130)]


def test_imagenet_subsets_have_as_many_classes_as_the_paper() -> None:
    assert {name: len(classes) for name, classes in imagenet.SUBSETS.items()} == {
        "nette": 10,
        "fruit": 10,
        "yellow": 10,
        "squawk": 10,
        "100": 100,
    }
    for classes in imagenet.SUBSETS.values():
        assert len(set(classes.values())) == len(classes)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ("wolrd", "unknown"),
        ("world:here", "did you mean .world."),
        ("folder:", "unknown"),
        ("folder:/no/such/folder", "no folder"),
        ("hub:/no/such/folder", "cannot load"),
        ("domainnet:{tmp}", "clipart_train.txt"),
        ("imagenet-nette:{tmp}", "train"),
        ("imagenet-mars:{tmp}", "nette"),
        ("folder:{tmp}", "one folder a class"),
    ],
)
def test_missing_data_is_one_clear_sentence(dataset: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_source(RunConfig(dataset=dataset.format(tmp=tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "train" / "cat" / "a.png")
    put(tmp_path / "test" / "dog" / "a.png")
    with pytest.raises(ConfigError, match="dog"):
        load_source(RunConfig(dataset=f"folder:{tmp_path}"))
