"""The run folder: whole or marked failed, readable again, and silent about the machine's owner."""

import getpass
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json_lines, write_bytes
from fgl_flower.records.observer import Observer
from fgl_flower.records.reading import read_run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder, Sample
from fgl_flower.report.observers import observers_of

REQUIRED = {
    *("method", "dataset", "partition", "seed", "rounds", "clients", "accuracy", "accuracy_by_domain"),
    *("accuracy_by_class", "validation_accuracy", "synthetic_images", "bytes_up_per_client", "bytes_down_per_client"),
    *("bytes_once_per_client", "bytes_total", "seconds", "peak_memory_bytes", "models", "git", "versions"),
}


def config(folder: Path, **values: object) -> RunConfig:
    return RunConfig.parse({"runs-dir": str(folder), "name": "one", **values})


def test_a_finished_run_reads_back_as_it_was_written(tmp_path: Path) -> None:
    asked = config(tmp_path, **{"beta": 0.01, "negative-prompt": 'quotes " and \\ and ünï\x7f'})
    with RunFolder.create(asked, command="fgl run x.toml", observers=observers_of(asked)) as folder:
        folder.log({"event": "round", "round": 1, "loss": np.float32(0.5), "counts": torch.tensor([1, 2])})
        folder.save_partition(np.array([[3, 0], [1, 2]]), ["star", "ring"])
        folder.save_confusion(np.array([[5, 1], [0, 6]]), ["star", "ring"])
        folder.save_samples([Sample(np.full((4, 4, 3), 7, np.uint8), "synthetic", "star", "sketch", "a sketch", "1")])
        folder.save_ledger({"bytes": np.int64(9)})
        folder.save_model({"w": torch.arange(3.0)})
        folder.finish(Result.of(asked, accuracy=0.25))
    run = read_run(folder.path)
    assert run.config == asked
    assert (run.state, run.command, run.name) == ("finished", "fgl run x.toml", "one")
    assert run.result is not None
    assert (run.result.accuracy, run.result.partition) == (0.25, "dirichlet-0.01")
    assert run.events[0]["counts"] == [1, 2]
    assert run.events[0]["time"] >= 0
    assert run.partition == {"clients": 2, "classes": ["star", "ring"], "counts": [[3, 0], [1, 2]]}
    assert run.confusion == {"classes": ["star", "ring"], "counts": [[5, 1], [0, 6]]}
    assert run.samples[0]["prompt"] == "a sketch"
    assert run.ledger == {"bytes": 9}
    assert torch.equal(load_file(folder.path / "model.safetensors")["w"], torch.arange(3.0))
    assert (folder.path / "report.html").stat().st_size > 1000


def test_the_result_has_every_fixed_key_and_the_versions(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as folder:
        folder.finish(Result.of(config(tmp_path), accuracy=1.0))
    written = json.loads((folder.path / "result.json").read_text(encoding="utf-8"))
    assert written.keys() >= REQUIRED
    assert written["versions"]["torch"] == torch.__version__
    assert set(written["git"]) == {"revision", "dirty"}


def test_no_run_overwrites_another(tmp_path: Path) -> None:
    names = [RunFolder.create(config(tmp_path)).path.name for _ in range(3)]
    assert names == ["one", "one-2", "one-3"]


def test_a_run_that_raises_is_marked_failed_and_has_no_result(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), RunFolder.create(config(tmp_path)) as folder:
        raise RuntimeError("boom")
    run = read_run(folder.path)
    assert (run.state, run.reason, run.result) == ("failed", "RuntimeError: boom", None)
    assert "boom" in (folder.path / "traceback.txt").read_text(encoding="utf-8")


def test_a_run_without_a_result_is_marked_failed(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path)) as folder:
        pass
    assert read_run(folder.path).reason == "the run ended without a result"


def test_a_killed_run_reads_as_failed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from fgl_flower.config import RunConfig\n"
        "from fgl_flower.records.run_folder import RunFolder\n"
        "RunFolder.create(RunConfig.parse({'runs-dir': sys.argv[1], 'name': 'killed'})); print('up', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert read_run(tmp_path / "killed").state == "running"
        process.kill()
        process.wait()
    run = read_run(tmp_path / "killed")
    assert run.state == "failed"
    assert "killed" in run.reason


def test_a_result_out_of_range_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for accuracy in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="accuracy"):
            Result.of(config(tmp_path), accuracy=accuracy)
    assert not list(tmp_path.iterdir())


def test_nothing_names_the_host_or_the_user(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    text = (folder.path / "environment.json").read_text(encoding="utf-8") + json.dumps(folder.path.name)
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_what_is_no_run_folder_or_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run folder"):
        read_run(tmp_path)
    folder = RunFolder.create(config(tmp_path))
    (folder.path / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="is damaged"):
        read_run(folder.path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="runs-dir"):
        RunFolder.create(config(tmp_path / "file"))


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "value"
    write_bytes(file, b"old")
    with pytest.raises(TypeError):
        write_bytes(file, "not bytes")  # type: ignore[arg-type]
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["value"]


def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"round": 1}\n{"round"', encoding="utf-8")
    assert read_json_lines(file) == [{"round": 1}]


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    with pytest.raises(ValueError, match="counts must be"):
        folder.save_partition(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="confusion must be"):
        folder.save_confusion(np.zeros((2, 3)), ["a", "b"])


def test_progress_reaches_who_watches(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    folder = RunFolder.create(config(tmp_path), watch=lambda *event: seen.append(event))
    folder.progress("rounds", 1, 3)
    assert seen == [("rounds", 1, 3)]


@given(name=st.text(min_size=1, max_size=80).filter(lambda name: "/" not in name and name not in {".", ".."}))
def test_any_name_becomes_a_folder_inside_runs_dir(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    parent = tmp_path_factory.mktemp("runs")
    folder = RunFolder.create(config(parent, name=name))
    assert folder.path.parent == parent
    assert time.time() - folder.path.stat().st_mtime < 60


class Deaf(Observer):
    """Fails at its first event and remembers what it heard."""

    name = "deaf.txt"

    def __init__(self) -> None:
        self.heard: list[str] = []

    def event(self, event: Mapping[str, Any]) -> None:
        self.heard.append(event["event"])
        raise OSError("no room")


def test_an_observer_that_fails_hears_no_more_and_costs_only_its_own_output(tmp_path: Path) -> None:
    deaf, wanted = Deaf(), config(tmp_path)
    with RunFolder.create(wanted, observers=[deaf, *observers_of(wanted)]) as folder:
        folder.log({"event": "epoch"})
        folder.log({"event": "epoch"})
        folder.finish(Result.of(wanted, accuracy=0.5))
    assert deaf.heard == ["epoch"]
    run = read_run(folder.path)
    assert run.state == "finished"
    assert run.result is not None
    assert [warning for warning in run.result.warnings if warning.startswith("deaf.txt is not written")]
    assert (folder.path / "report.html").exists()
