"""A run counts as finished as long as its settings, its data and its models are those that a run would have now."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.files import read_json, write_json
from fgl_flower.records import fingerprint, process
from fgl_flower.records.finished import FinishedRuns
from fgl_flower.records.reading import read_run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder


@pytest.fixture(autouse=True)
def later_command() -> Callable[[], None]:
    """Return a function that forgets what this process knows of data, as the next command does."""
    fingerprint._files.cache_clear()
    return fingerprint._files.cache_clear


def pictures(folder: Path) -> Path:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (folder / split / label).mkdir(parents=True)
            for number in range(2):
                picture = Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8))
                picture.save(folder / split / label / f"{number}.png")
    return folder


def finished(runs: Path, dataset: str) -> RunConfig:
    config = RunConfig.parse({"method": "fedavg", "rounds": 1, "dataset": dataset, "runs-dir": str(runs)})
    with RunFolder.create(config) as folder:
        folder.finish(Result.of(config, accuracy=0.5))
    return config


def counts(runs: Path, config: RunConfig) -> bool:
    return FinishedRuns(runs).get(config) is not None


def touch(folder: Path) -> None:
    os.utime(folder / "train/cat/0.png", (1, 1))


def delete(folder: Path) -> None:
    (folder / "test/dog/1.png").unlink()


def add(folder: Path) -> None:
    (folder / "train/cow").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train/cow/0.png")


@pytest.mark.parametrize("change", [touch, delete, add])
def test_a_run_on_data_that_have_changed_since_does_not_count(
    change: Callable[[Path], None], tmp_path: Path, later_command: Callable[[], None]
) -> None:
    data = pictures(tmp_path / "data")
    config = finished(tmp_path / "runs", f"folder:{data}")
    later_command()
    assert counts(tmp_path / "runs", config)
    change(data)
    later_command()
    assert not counts(tmp_path / "runs", config)
    assert "its data have changed since" in FinishedRuns(tmp_path / "runs").note(config)


def test_a_hidden_file_is_no_change(tmp_path: Path, later_command: Callable[[], None]) -> None:
    data = pictures(tmp_path / "data")
    config = finished(tmp_path / "runs", f"folder:{data}")
    (data / "train/cat/.DS_Store").write_bytes(b"\0")
    later_command()
    assert counts(tmp_path / "runs", config)


def test_one_relative_path_of_two_working_folders_names_two_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        pictures(tmp_path / name / "data")
    monkeypatch.chdir(tmp_path / "one")
    config = finished(tmp_path / "runs", "folder:data")
    whole = config.model_copy(update={"dataset": f"folder:{tmp_path / 'one/data'}"})
    assert counts(tmp_path / "runs", config)
    assert counts(tmp_path / "runs", whole)
    monkeypatch.chdir(tmp_path / "two")
    assert not counts(tmp_path / "runs", config)
    assert counts(tmp_path / "runs", whole)


def test_a_run_of_another_machine_is_not_said_to_run(tmp_path: Path) -> None:
    config = RunConfig.parse({"method": "fedavg", "rounds": 1, "runs-dir": str(tmp_path), "name": "one"})
    folder = RunFolder.create(config)
    assert read_run(folder.path).state == "running"
    status = read_json(folder.path / "status.json")
    for changes in ({"host": "another"}, {"started": status["started"] - 60}):
        write_json(folder.path / "status.json", {**status, **changes})
        run = read_run(folder.path)
        assert run.state == "failed"
        assert run.reason == process.why_gone({**status, **changes}) != ""
    write_json(folder.path / "status.json", {k: v for k, v in status.items() if k not in {"host", "started"}})
    assert read_run(folder.path).state == "running", "an older version wrote the id alone"
