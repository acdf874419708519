"""Nodes with data of their own: under the federation's names, at a server without images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.client_app import app
from clients.own_data import OwnData
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.preflight import preflight
from fgl_flower.records.reading import read_run
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.page import render
from fgl_flower.simulation import InlineGrid
from strategies.server_app import serve

CONFIG = RunConfig.parse({"dataset": "nodes", "classes": ["cat", "dog", "owl"], "domains": ["photo", "sketch"]})


def write_images(folder: Path, counts: Mapping[str, int]) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")


def own(folder: Path, **told: str) -> OwnData:
    return OwnData(f"folder:{folder}", **told)


def classes_of(data: OwnData, config: RunConfig = CONFIG) -> dict[str, int]:
    private = data.load(config).table.dataset
    names = private.features["label"].names
    assert tuple(names) == config.class_names
    return {name: private["label"].count(i) for i, name in enumerate(names) if i in private["label"]}


class TestOwnData:
    def test_all_images_of_a_folder_are_private_under_the_names_of_the_federation(self, tmp_path: Path) -> None:
        write_images(tmp_path, {"owl": 3, "dog": 2})
        assert classes_of(own(tmp_path)) == {"dog": 2, "owl": 3}

    def test_labels_are_mapped_or_left_out_with_a_count(self, tmp_path: Path) -> None:
        write_images(tmp_path, {"k9": 3, "dog": 2, "tree": 4})
        data = own(tmp_path, labels="k9=dog, tree=")
        assert classes_of(data) == {"dog": 5}
        assert "4 images of classes that `labels` leaves out" in data.load(CONFIG).notes

    def test_labels_may_stand_in_a_file(self, tmp_path: Path) -> None:
        write_images(tmp_path / "images", {"a, b": 3})
        (tmp_path / "labels.toml").write_text('"a, b" = "cat"\n')
        assert classes_of(own(tmp_path / "images", labels=str(tmp_path / "labels.toml"))) == {"cat": 3}

    @pytest.mark.parametrize(
        ("told", "sentence"),
        [
            ({}, "classes that the federation does not have: 'k9'"),
            ({"labels": "k9=wolf"}, "does not have: 'k9'"),
            ({"labels": "k9=dog", "domain": "painting"}, "domain = 'painting' is none of the federation's"),
            ({"labels": "k9"}, "cannot be read"),
        ],
    )
    def test_names_that_the_federation_lacks_are_refused(
        self, tmp_path: Path, told: Mapping[str, str], sentence: str
    ) -> None:
        write_images(tmp_path, {"k9": 3})
        with pytest.raises(DataError, match=sentence):
            own(tmp_path, **told).load(CONFIG)

    def test_its_domain_is_the_one_told_or_unknown(self, tmp_path: Path) -> None:
        write_images(tmp_path, {"dog": 2})
        assert own(tmp_path, domain="sketch").load(CONFIG).table.dataset["domain"] == [1, 1]
        assert own(tmp_path).load(CONFIG).table.dataset["domain"] == [-1, -1]
        one = CONFIG.model_copy(update={"domains": ""})
        assert own(tmp_path).load(one).table.dataset["domain"] == [0, 0]

    def test_a_run_that_names_no_classes_is_told_so(self, tmp_path: Path) -> None:
        write_images(tmp_path, {"dog": 2})
        with pytest.raises(ConfigError, match="names no classes"):
            own(tmp_path).load(RunConfig())

    def test_columns_of_a_hub_data_set_are_named(self, tmp_path: Path) -> None:
        import datasets

        made = {"scan": [np.zeros((8, 8, 3), np.uint8)] * 2, "thumb": [np.zeros((4, 4, 3), np.uint8)] * 2}
        columns = datasets.Features(
            scan=datasets.Image(), thumb=datasets.Image(), finding=datasets.Value("string"), id=datasets.Value("int64")
        )
        rows = datasets.Dataset.from_dict({**made, "finding": ["owl", "cat"], "id": [1, 2]}, features=columns)
        (tmp_path / "set").mkdir()
        rows.to_parquet(tmp_path / "set" / "train.parquet")
        data = OwnData(f"hub:{tmp_path / 'set'}", columns="image=scan, label=finding")
        assert classes_of(data) == {"cat": 1, "owl": 1}
        assert data.load(CONFIG).table.dataset[0]["image"].size == (8, 8)
        with pytest.raises(DataError, match="no column 'x'"):
            OwnData(f"hub:{tmp_path / 'set'}", columns="image=x").load(CONFIG)


class TestConfig:
    @pytest.mark.parametrize("names", [["cat", "dog"], ["cat, black", "dog"], ["[a", "b"]])
    def test_a_list_of_names_travels_as_one_string(self, names: list[str]) -> None:
        config = RunConfig.parse({"classes": names})
        assert config.class_names == tuple(names)
        assert RunConfig.parse(config.to_flat()) == config

    def test_names_come_from_a_file_or_a_folder_beside_the_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "names.txt").write_text("cat\n\ndog, black\n")
        (tmp_path / "run.toml").write_text('classes-from = "names.txt"\n')
        assert RunConfig.load(tmp_path / "run.toml").class_names == ("cat", "dog, black")
        write_images(tmp_path / "images", {"owl": 1, "cat": 1})
        assert RunConfig.load(tmp_path / "run.toml", **{"classes-from": "images"}).class_names == ("cat", "owl")
        with pytest.raises(ConfigError, match=r"classes-from = .* cannot be read"):
            RunConfig.load(tmp_path / "run.toml", **{"classes-from": "nowhere"})

    @pytest.mark.parametrize(
        "keys",
        [
            {"classes": ""},
            {"classes": "cat"},
            {"classes": "cat, cat"},
            {"method": "local", "rounds": 1},
            {"method": "centralised"},
            {"client-evaluation": False},
        ],
    )
    def test_what_cannot_go_without_images_of_the_server_is_refused(self, keys: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            RunConfig.parse({**CONFIG.to_flat(), **keys})

    def test_a_simulation_has_no_nodes(self) -> None:
        with pytest.raises(ConfigError, match="only in a deployment"):
            preflight(CONFIG)
        preflight(CONFIG, divided=False)

    def test_the_server_needs_test_images_alone(self, tmp_path: Path) -> None:
        write_images(tmp_path / "test", {"owl": 3, "dog": 2})
        source = load_source(RunConfig.parse({"dataset": f"folder:{tmp_path}", "classes": "cat, dog, owl"}))
        assert (len(source.private), len(source.validation), source.test["label"]) == (0, 0, [1, 1, 2, 2, 2])

    def test_its_images_show_no_other_classes(self, tmp_path: Path) -> None:
        write_images(tmp_path / "test", {"owl": 3, "cow": 1})
        with pytest.raises(DataError, match="classes that the federation does not have: cow"):
            load_source(RunConfig.parse({"dataset": f"folder:{tmp_path}", "classes": "cat, dog, owl"}))


def test_a_federation_of_nodes_with_data_of_their_own(tmp_path: Path) -> None:
    """One-shot FGL and a round of FedAvg at a server without images; a node whose data is wrong is left out."""
    held = [{"star": 12, "circle": 6}, {"square": 9}, {"sheep": 4}, {}]
    for number, counts in enumerate(held):
        write_images(tmp_path / str(number), counts)
    config = RunConfig.parse(
        {
            "dataset": "nodes",
            "classes": ["circle", "square", "star"],
            "domains": ["photo", "sketch"],
            "clients": 4,
            "rounds": 1,
            "images-per-class": 4,
            "server-epochs": 1,
            "local-epochs": 1,
            "runs-dir": str(tmp_path / "runs"),
            "node-timeout": 1.0,
            "name": "nodes",
        }
    )
    preflight(config, divided=False)
    nodes = {i: {"data": f"folder:{tmp_path / str(i)}", "domain": "sketch"} for i in range(4)}
    grid = InlineGrid(app, 4, config.to_flat(), nodes)
    with RunFolder.create(config) as folder:
        result = serve(grid, config, folder, engine="deployment")
    assert result.accuracy is None
    assert result.validation_accuracy is None
    assert result.client_accuracy is not None
    assert result.selected_round in {0, 1}
    assert result.synthetic_images == 12
    reasons = {failure.client: failure.reason for failure in result.failures}
    assert len(reasons) == 2
    assert any("does not have: 'sheep'" in reason for reason in reasons.values())
    assert any("holds no folder of images" in reason for reason in reasons.values())
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    run = read_run(folder.path)
    assert run.partition is not None
    assert run.partition["counts"] == [[6, 0, 12], [0, 9, 0], [0, 0, 0], [0, 0, 0]]
    events = [event for event in run.events if event["event"] == "round"]
    assert [event["round"] for event in events] == [0, 1]
    assert "validation_accuracy" not in events[0]
    page = render([run])
    assert "right of the clients" in page
