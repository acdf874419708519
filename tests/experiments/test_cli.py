"""`fgl` as a user meets it: help, exit codes, one sentence on stderr, nothing written on bad input."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments import runner
from experiments.cli import app as cli
from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.records.reading import read_run
from fgl_flower.records.run_folder import RunFolder
from tests.commands import fgl
from tests.made_runs import made_run

SMALL = {
    "method": "fedavg",
    "rounds": 2,
    "clients": 3,
    "partition": "iid",
    "local-epochs": 1,
    "private-images": 120,
    "validation-images": 60,
    "test-images": 60,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    lines = [f"{key} = {value!r}" for key, value in SMALL.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_help_teaches_with_examples() -> None:
    for arguments, parts in {
        ("--help",): ("fgl compare experiments/demo", "Exit codes: 0 fine, 1 a run failed, 2 bad input"),
        ("run", "--help"): ("Examples", "Run configuration (flat TOML)", "--engine", "--set", "--runs-dir"),
        ("compare", "--help"): ("Examples", "finished already", "--again"),
        ("report", "--help"): ("Examples", "--output"),
    }.items():
        done = subprocess.run(
            [sys.executable, "-m", "experiments.cli.app", *arguments], capture_output=True, text=True, check=True
        )
        assert all(part in done.stdout for part in parts), done.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, experiments.cli.app; assert not {'torch', 'flwr', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_key_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fgl(monkeypatch, "config") == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in RunConfig().to_flat())


BAD = [
    ((), {"roundz": "1"}, "unknown key 'roundz' (did you mean 'rounds'?)"),
    ((), {"rounds": "-1"}, "rounds = -1 is refused"),
    ((), {"rounds": "many"}, "rounds = 'many' is refused"),
    ((), {"clients": "2.5"}, "clients = 2.5 is refused"),
    ((), {"dataset": "folder:/no/such/folder"}, "dataset = 'folder:/no/such/folder': there is no folder"),
    ((), {"dataset": "moon"}, "dataset = 'moon' is unknown"),
    ((), {"clients": "5000"}, "set fewer clients"),
    ((), {"method": "fgl", "generator": "/no/such/weights"}, "/no/such/weights"),
    (("--set", "rounds"), {}, "--set wants KEY=VALUE"),
]


@pytest.mark.parametrize("command", ["run", "compare"])
@pytest.mark.parametrize(("arguments", "settings", "part"), BAD, ids=[part for _, _, part in BAD])
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    file: Path,
    command: str,
    arguments: Sequence[str],
    settings: dict[str, str],
    part: str,
) -> None:
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    assert fgl(monkeypatch, command, file, "--runs-dir", tmp_path / "runs", *arguments, *sets) == 2
    shown = capsys.readouterr()
    assert part in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert shown.out.strip() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_a_missing_file_and_a_folder_without_a_run_are_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert fgl(monkeypatch, "run", tmp_path / "none.toml") == 2
    assert "cannot read the configuration" in capsys.readouterr().err
    assert fgl(monkeypatch, "report", tmp_path) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_exits_1_and_leaves_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path
) -> None:
    def fail(grid: object, config: RunConfig, folder: RunFolder, *, engine: str) -> None:
        raise RunError("no client answered in round 1")

    monkeypatch.setattr(runner, "serve", fail)
    assert fgl(monkeypatch, "run", file, "--runs-dir", tmp_path / "runs", "--set", "name=broken") == 1
    assert "the run failed: no client answered in round 1" in capsys.readouterr().err
    run = read_run(tmp_path / "runs" / "broken")
    assert (run.state, run.result) == ("failed", None)
    assert "no client answered" in run.reason


def test_a_comparison_goes_on_after_a_run_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path
) -> None:
    def execute(config: RunConfig, engine: str) -> object:
        if config.name == "bad":
            raise RunError("round 1: none of 3 clients gave a usable reply")
        return read_run(made_run(tmp_path / "runs", "fedavg", rounds=1))

    monkeypatch.setattr(cli, "_execute", execute)
    bad = tmp_path / "bad.toml"
    bad.write_text(file.read_text(encoding="utf-8") + "\nname = 'bad'\n", encoding="utf-8")
    assert fgl(monkeypatch, "compare", bad, file, "--runs-dir", tmp_path / "runs") == 1
    shown = capsys.readouterr()
    assert shown.err == "fgl: the run failed: round 1: none of 3 clients gave a usable reply\n"
    assert "40.0 %" in shown.out
    assert "compare.html" in shown.out
    assert fgl(monkeypatch, "compare", bad, "--runs-dir", tmp_path / "other") == 1
    assert "report:" not in capsys.readouterr().out


def test_a_run_ends_with_a_table_and_a_folder_and_compare_reuses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path
) -> None:
    runs = tmp_path / "runs"
    assert fgl(monkeypatch, "run", file, "--runs-dir", runs, "--set", "name=one") == 0
    assert "valid." in capsys.readouterr().out
    one = read_run(runs / "one")
    assert one.result is not None
    assert one.result.engine == "inline"
    assert one.command.startswith("fgl run ")
    assert [event["round"] for event in one.events if event["event"] == "round"] == [0, 1, 2]

    other = tmp_path / "other.toml"
    other.write_text("method = 'centralised'\nname = 'other'\nserver-epochs = 1\n", encoding="utf-8")
    sizes = [word for key in ("private", "validation", "test") for word in ("--set", f"{key}-images=60")]
    assert fgl(monkeypatch, "compare", other, "--runs-dir", runs, *sizes) == 0
    capsys.readouterr()
    for again in (False, True):
        flag = ["--again"] if again else []
        assert fgl(monkeypatch, "compare", other, "--runs-dir", runs, *sizes, *flag) == 0
        assert ("finished earlier" in capsys.readouterr().out) is not again
    assert sorted(path.name for path in runs.iterdir()) == ["compare.html", "one", "other", "other-2"]


def test_a_failed_run_is_not_taken_for_a_finished_one(tmp_path: Path, file: Path) -> None:
    config = cli.load(file, ["name=broken"], tmp_path / "runs")
    RunFolder.create(config).fail("out of memory")
    assert cli.find_finished(config) is None


def test_report_writes_one_page_or_a_comparison(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, two = made_run(tmp_path, "fgl"), made_run(tmp_path, "fedavg", rounds=3)
    (one / "report.html").unlink()
    assert fgl(monkeypatch, "report", one) == 0
    assert (one / "report.html").exists()
    assert fgl(monkeypatch, "report", one, two) == 0
    assert (tmp_path / "compare.html").exists()
    assert fgl(monkeypatch, "report", one, two, "-o", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").exists()
    assert "83.0 %" in capsys.readouterr().out


def test_settings_are_read_as_toml_and_fall_back_to_text(file: Path) -> None:
    config = cli.load(file, ["seed=7", "beta=0.01", "method=fgl", 'name="quoted = sign"', "guidance=1"])
    assert (config.seed, config.beta, config.method) == (7, 0.01, "fgl")
    assert (config.name, config.guidance) == ("quoted = sign", 1.0)
