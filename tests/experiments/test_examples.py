"""Every example that a newcomer copies runs from end to end, is short, and reaches what it shows."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.examples import bare_server_app, from_python, own_level
from fgl_flower.records.reading import read_run

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "examples"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
ONE_RUN = ["own_strategy", "own_level", "own_dataset", "own_classifier", "own_budget_rule"]
KEYS = {
    "own_strategy": "wrapped",
    "own_level": "prompt_level",
    "own_dataset": "dataset",
    "own_classifier": "model",
    "own_budget_rule": "budget_rule",
}


def tiny(tmp_path: Path, generator: Path) -> dict[str, Any]:
    return {
        "runs_dir": str(tmp_path),
        "private_images": 120,
        "validation_images": 60,
        "test_images": 60,
        "clients": 3,
        "local_epochs": 1,
        "server_epochs": 1,
        "images_per_class": 6,
        "generator": str(generator),
        "device": "cpu",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("name", ONE_RUN)
def test_an_example_runs_with_its_own_object(name: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    example = importlib.import_module(f"experiments.examples.{name}")
    changes = {**tiny(tmp_path, tiny_checkpoint), "rounds": {"own_strategy": 1, "own_dataset": 1}.get(name, 0)}
    result = example.main(**changes)
    (file,) = tmp_path.glob("*/result.json")
    run = read_run(file.parent)
    assert getattr(run.config, KEYS[name]).startswith(f"experiments.examples.{name}:")
    assert run.result == result
    assert not result.failures
    # The tiny generator of the tests knows few words, of which a run warns.
    expected = ("no words that the generator knows", "less than half of the clients' images right")
    others = [warning for warning in result.warnings if not any(part in warning for part in expected)]
    assert not others or name in {"own_dataset", "own_level"}
    if name == "own_dataset":
        assert list(result.accuracy_by_class)[:2] == ["zero", "one"]


def test_the_level_of_the_example_sends_colours(tmp_path: Path, tiny_checkpoint: Path) -> None:
    own_level.main(**tiny(tmp_path, tiny_checkpoint))
    (file,) = tmp_path.glob("*/samples.json")
    prompts = {s["prompt"] for s in read_run(file.parent).samples if s["kind"] == "synthetic"}
    assert prompts
    assert all(prompt.startswith("a ") and any(colour in prompt for colour in own_level.COLOURS) for prompt in prompts)


def test_fgl_works_in_a_bare_server_app(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare_server_app.simulate(**{**tiny(tmp_path, tiny_checkpoint), "rounds": 1})
    assert "on 60 images" in capsys.readouterr().out
    assert (tmp_path / "store" / "shards").is_dir()
    assert not list(tmp_path.glob("*/result.json"))


def test_a_run_from_python_reads_back(tmp_path: Path, tiny_checkpoint: Path) -> None:
    results = from_python.main(**tiny(tmp_path, tiny_checkpoint))
    for level, result in results.items():
        assert from_python.read_again(str(tmp_path / f"from-python-{level}")) == result


def test_an_object_of_ones_own_needs_no_installation(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """A module in the folder where the command is started, under Ray: its actors find it, too."""
    (tmp_path / "mine.py").write_text(
        "from flwr.serverapp.strategy import FedAvg\n\n\nclass Mine(FedAvg):\n    pass\n\n\n"
        "from fgl_flower.learning.small_resnet import small_resnet as network\n",
        encoding="utf-8",
    )
    changes = {**tiny(tmp_path / "runs", tiny_checkpoint), "method": "mine:Mine", "model": "mine:network", "rounds": 1}
    (tmp_path / "mine.toml").write_text(
        "\n".join(f"{k.replace('_', '-')} = {v!r}" for k, v in changes.items()) + "\n", encoding="utf-8"
    )
    fgl = [sys.executable, "-m", "experiments.cli.app", "run", "mine.toml", "--engine", "ray"]
    done = subprocess.run(fgl, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "runs").glob("*/result.json")
    result = read_run(file.parent).result
    assert result is not None
    assert (result.method, result.failures) == ("mine:Mine", [])
