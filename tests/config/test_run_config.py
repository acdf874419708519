"""The configuration: every key explained, nonsense refused in a sentence, and pyproject.toml in step with it."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from experiments.cli.options import overrides
from experiments.sync_config import synced
from fgl_flower.config import RunConfig, describe_keys
from fgl_flower.errors import ConfigError

ROOT = Path(__file__).parents[2]
_OF_TABLES = {"tables", "reproduce"}  # bound in tests/experiments/test_shipped.py
SHIPPED = sorted(path for path in (ROOT / "experiments").rglob("*.toml") if path.parent.name not in _OF_TABLES)


def test_pyproject_holds_every_key_at_its_default() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    assert app["config"] == RunConfig().to_flat(), "run `make config`"


def test_sync_replaces_the_table_and_nothing_else() -> None:
    before = '[a]\nb = 1\n\n[tool.flwr.app.config]\nold = 1\n\n[z]\ny = "[tool.flwr.app.config]"\n'
    after = tomllib.loads(synced(before))
    assert after["a"] == {"b": 1}
    assert after["z"] == {"y": "[tool.flwr.app.config]"}
    assert after["tool"]["flwr"]["app"]["config"] == RunConfig().to_flat()
    assert synced(synced(before)) == synced(before)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shipped_configurations_are_valid(path: Path) -> None:
    RunConfig.load(path)


def test_every_key_is_described_with_type_and_sentence() -> None:
    rows = describe_keys()
    assert [row[0] for row in rows] == list(RunConfig().to_flat())
    for key, kind, default, _, meaning in rows:
        assert kind
        assert default
        assert meaning.endswith("."), key
        assert tomllib.loads(f"default = {default}")["default"] == RunConfig().to_flat()[key], "as in TOML"
    ranges = {row[0]: row[3] for row in rows}
    assert ranges["beta"] == "> 0"
    assert ranges["fraction"] == "> 0 and <= 1"
    assert "fedavg" in ranges["method"]
    assert next(row[1:3] for row in rows if row[0] == "tensorboard") == ("true or false", "false")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"roundz": 3}, "unknown key 'roundz' (did you mean 'rounds'?)"),
        ({"zzzzzz": 3}, "see `fgl config`"),
        ({"rounds": -1}, "rounds = -1 is refused"),
        ({"rounds": 2.5}, "rounds = 2.5 is refused"),
        ({"rounds": "5"}, "rounds = '5' is refused"),
        ({"rounds": True}, "rounds = True is refused"),
        ({"beta": 0}, "beta = 0.0 is refused"),
        ({"beta": True}, "beta = True is refused"),
        ({"seed": 2**31}, "seed"),
        ({"method": "magic"}, "method = 'magic' is refused"),
        ({"method": "fedavg"}, "set rounds to at least 1"),
        ({"fine-tune-epochs": 1}, "set rounds to at least 1"),
        ({"method": "fedavg", "rounds": 1, "fine-tune-epochs": 1}, "needs method = 'fgl'"),
        ({"prompt-every": -1}, "prompt-every = -1 is refused"),
        ({"prompt-every": 1, "method": "fedavg", "rounds": 2}, "prompt-every needs method = 'fgl'"),
        ({"prompt-every": 1, "method": "mixed"}, "prompt-every needs method = 'fgl'"),
        ({"prompt-every": 3, "rounds": 3}, "prompt-every = 3 has no effect with rounds = 3"),
        ({"prompt-template": "a {colour} {class}"}, "prompt-template may hold only"),
        ({"class-template": "thing"}, "class-template must hold {class}"),
        ({"name": "a/b"}, "may not hold '/'"),
        ({"device": "tpu"}, "device = 'tpu' is refused"),
    ],
)
def test_nonsense_is_refused_in_one_line(values: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RunConfig.parse(values)
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_whole_numbers_serve_as_floats_and_files_win_less_than_overrides(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("beta = 1\nseed = 3\n", encoding="utf-8")
    config = RunConfig.load(file, seed=4)
    assert isinstance(config.beta, float)
    assert (config.beta, config.seed) == (1.0, 4)


@pytest.mark.parametrize(("text", "part"), [("beta = ", "not valid TOML"), (None, "cannot read the configuration")])
def test_unreadable_files_are_named(tmp_path: Path, text: str | None, part: str) -> None:
    file = tmp_path / "run.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=part) as refused:
        RunConfig.load(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("strategy", ["fedavgm", "fedadam", "fedyogi"])
def test_a_server_optimiser_is_kept_from_running_statistics(strategy: str) -> None:
    for keys in ({"method": strategy, "rounds": 1}, {"method": "fgl", "wrapped": strategy, "rounds": 1}):
        with pytest.raises(ConfigError, match="step the running statistics"):
            RunConfig.parse({**keys, "norm": "batch"})
        RunConfig.parse({**keys, "norm": "group"})
    RunConfig.parse({"method": "fedavg", "rounds": 1, "wrapped": strategy, "norm": "batch"})


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("name=nan", {"name": "nan"}),
        ("name=2026", {"name": "2026"}),
        ("name='2026'", {"name": "2026"}),
        ("method=fedavg", {"method": "fedavg"}),
        ("beta=1", {"beta": 1}),
        ("tensorboard=true", {"tensorboard": True}),
        ("unknown=nan-ish", {"unknown": "nan-ish"}),
    ],
)
def test_a_setting_of_a_text_key_stays_text(setting: str, found: dict[str, Any]) -> None:
    assert overrides([setting]) == found
