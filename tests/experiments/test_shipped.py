"""Every configuration and table that the project ships: each is valid, and each method runs from end to end."""

from pathlib import Path
from typing import Any

import pytest

from experiments.cli.options import load_all
from experiments.planning.forecast import forecast
from experiments.planning.needs import look
from experiments.runner import run
from experiments.table.spec import Table
from fgl_flower.config import RunConfig
from fgl_flower.records.reading import read_run

FOLDER = Path(__file__).parents[2] / "experiments"
METHODS = sorted(FOLDER.glob("methods/*.toml"))
DEMOS = sorted(FOLDER.glob("demo/*.toml"))
TABLES = sorted([*FOLDER.glob("tables/*.toml"), *FOLDER.glob("reproduce/*.toml")])


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_none_is_left_out() -> None:
    assert sorted([*METHODS, *DEMOS, *TABLES]) == sorted(FOLDER.rglob("*.toml"))
    assert METHODS
    assert DEMOS
    assert TABLES


@pytest.mark.parametrize("path", [*METHODS, *DEMOS], ids=named)
def test_a_configuration_sets_what_it_says(path: Path) -> None:
    """Nothing but its keys differs from the defaults."""
    config = RunConfig.load(path)
    said = {line.split("=")[0].strip() for line in path.read_text(encoding="utf-8").splitlines() if "=" in line[:30]}
    defaults = RunConfig().to_flat()
    assert {key for key, value in config.to_flat().items() if value != defaults[key]} <= said


@pytest.mark.parametrize("path", TABLES, ids=named)
def test_a_table_is_valid_in_every_cell(path: Path) -> None:
    table = Table.load(path)
    runs = [table.config(cell, seed, {}, Path("runs")) for cell in table.cells for seed in table.seeds]
    assert len({config.name for config in runs}) == len(runs) > 1, "no two runs of a table share a folder"


@pytest.mark.parametrize("path", [*METHODS, *DEMOS, *TABLES], ids=named)
def test_what_a_file_would_do_is_told(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures for what ships with the project; what is not on this machine is named, and nothing is downloaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    config = load_all(path)[-1]  # of a table one cell is enough here
    few = {"private_images": max(120, config.clients), "validation_images": 60, "test_images": 60}
    config = config.model_copy(update=few)  # of the world, which is drawn anew: nothing is kept
    found = look(config, path)
    told = forecast(config, found)
    assert {figure.part for figure in told.figures} >= {"bytes", "training", "disk", "memory", "time"}
    faults = [item.need.name for item in found if item.fault]
    if path.parent.name == "reproduce":
        assert faults == [config.dataset, config.generator][: 1 + config.draws]
    else:
        assert faults == []
        assert None not in [figure.value for figure in told.figures if figure.part in {"training", "disk", "time"}]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", METHODS, ids=named)
def test_a_method_runs_tiny_from_end_to_end(path: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    shipped = RunConfig.load(path)
    tiny: dict[str, Any] = {
        "runs_dir": str(tmp_path),
        "private_images": 60,
        "validation_images": 60,
        "test_images": 60,
        "clients": 2,
        "rounds": min(shipped.rounds, 1),
        "local_epochs": 1,
        "server_epochs": 1,
        "images_per_class": 3,
        "steps": min(shipped.steps, 1),
        "generator": str(tiny_checkpoint),
        "device": "cpu",
    }
    result = run(RunConfig(**{**shipped.model_dump(), **tiny}))
    (file,) = tmp_path.glob("*/result.json")
    finished = read_run(file.parent)
    assert (finished.state, finished.result) == ("finished", result)
    assert (result.method, result.rounds) == (shipped.method, min(shipped.rounds, 1))
    assert 0 <= result.accuracy <= 1
    assert result.failures == []
    assert result.synthetic_images == (30 if shipped.draws else 0)  # 3 of each of ten classes
    assert (file.parent / "report.html").exists()
