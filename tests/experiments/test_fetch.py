"""`fgl fetch`: what it downloads is what a run loads, on a machine without network, too; and `fgl doctor` tells."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.cli.fetch import how_to_use
from experiments.cli.options import load_all
from experiments.planning import health
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.foundation.miniature import weights_dir
from tests.commands import fgl
from tests.loopback_hub import Hub, loopback_hub

ROOT = Path(__file__).parents[2]
RUN = """
dataset = "hub:me/shapes"
generator = "me/painter"
captioner = "me/seer"
prompt-level = "instance"
instance-template = "{class}: {caption}"
partition = "iid"
clients = 2
images-per-class = 1
server-epochs = 1
device = "cpu"
name = "carried"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Iterator[Hub]:
    """A hub with a data set, a captioner, and a generator that has weights of half precision alone."""
    shapes, painter = tmp_path_factory.mktemp("shapes"), tmp_path_factory.mktemp("painter") / "fp16"
    source = load_source(RunConfig(private_images=40, validation_images=20, test_images=20))
    for split, images in (("train", source.private), ("validation", source.validation), ("test", source.test)):
        images.to_parquet(shapes / f"{split}.parquet")
    shutil.copytree(tiny_checkpoint, painter)
    for weights in painter.rglob("*.safetensors"):
        weights.rename(weights.with_name(f"{weights.stem}.fp16.safetensors"))
    repositories = {
        "datasets/me/shapes": shapes,
        "models/me/painter": painter,
        "models/me/seer": weights_dir("captioner"),
    }
    with loopback_hub(repositories, moved={"me/watcher": "me/seer"}) as served:
        yield served


def call(folder: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: text for key, text in os.environ.items() if not key.startswith("HF_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_XET": "1", **variables}
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


def test_a_run_finds_elsewhere_what_was_fetched_into_a_folder(hub: Hub, tmp_path: Path) -> None:
    """The captioner is given by a name that it no longer has."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "run.toml").write_text(RUN.replace("me/seer", "me/watcher"), encoding="utf-8")
    done = call(here, "fetch", "run.toml", "--into", "carry", HF_ENDPOINT=hub.endpoint, HF_HOME=str(here / "own"))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("data hub:me/shapes", "generator me/painter", "captioner me/watcher"):
        assert f"{name} ..." in done.stdout
        assert f"    {name}\n" in (here / "carry" / "README.txt").read_text(encoding="utf-8")
    assert "a run finds all of it with HF_HUB_OFFLINE=1" in done.stdout
    assert not (here / "own").exists(), "nothing lands in the caches of this machine"
    asked = [line for line in hub.asked if line.startswith("GET") and line.endswith(".safetensors")]
    assert len(asked) == 4, "three parts of the generator and the captioner, each once"

    (here / "carry").rename(there / "carry")
    without = {
        "HF_HOME": str(there / "carry" / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }
    run = call(there, "run", "run.toml", **without)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (there / "runs" / "carried" / "result.json").exists()


def test_what_cannot_be_fetched_does_not_keep_the_rest(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN.replace("me/seer", "me/nobody"), encoding="utf-8")
    done = call(tmp_path, "fetch", "run.toml", HF_ENDPOINT=hub.endpoint, HF_HOME=str(tmp_path / "own"))
    assert done.returncode == 1
    assert "not fetched: no captioner 'me/nobody'" in done.stdout
    assert "missing, captioner" in done.stdout
    assert "missing, generator" not in done.stdout
    assert list((tmp_path / "own" / "hub").glob("models--me--painter/snapshots/*/model_index.json"))


def test_the_text_names_what_is_not_in_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('dataset = "folder:/srv/photos"\ngenerator = "me/painter"\n', encoding="utf-8")
    text = how_to_use(load_all(file), file, ["--set", "seed=1"])
    assert "    generator me/painter\n" in text.split("Not of the hub")[0]
    assert "    data folder:/srv/photos\n" in text.split("Not of the hub")[1]
    assert "fgl run run.toml --set seed=1" in text


def test_nothing_of_the_built_in_world_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text("private-images = 60\nclients = 2\n", encoding="utf-8")
    assert fgl(monkeypatch, "fetch", tmp_path / "run.toml") == 0
    assert "nothing of this file comes from the hub" in capsys.readouterr().out


def test_doctor_is_content_with_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fgl(monkeypatch, "doctor") == 0
    shown = capsys.readouterr().out
    for name in ("python", "torch", "flwr", "threads", "free", "offline mode", "miniature-fast"):
        assert name in shown
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = health.metadata.version
    monkeypatch.setattr(health.metadata, "version", lambda name: "0.1" if name == "diffusers" else real(name))
    assert fgl(monkeypatch, "doctor") == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "diffusers" in line]
    assert "! diffusers" in line
    assert "0.1 " in line


def test_doctor_tells_what_a_file_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(RUN, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    assert fgl(monkeypatch, "doctor", "run.toml") == 1
    shown = capsys.readouterr().out
    for role in ("data", "generator", "captioner"):
        assert f"missing, {role}: " in shown
    assert shown.count("fgl fetch run.toml") == 3


def test_bytes_of_a_folder_count_files_once(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a").write_bytes(b"x" * 1000)
    (tmp_path / "snapshot").symlink_to(tmp_path / "blobs")
    (tmp_path / "link").symlink_to(tmp_path / "blobs" / "a")
    assert health.folder_bytes(tmp_path) == 1000
    assert health.folder_bytes(tmp_path / "none") == 0
