"""`fgl bench clients` from outside."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.app import app


@pytest.mark.timeout(240)
def test_each_federation_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    words = ["bench", "clients", "--clients", "4", "--cohort", "2", "--images", "20", "--rounds", "3", "--repeats", "1"]
    done = CliRunner().invoke(app, [*words, "--engine", "in process", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = {row["method"]: row for row in json.loads((tmp_path / "bench-clients.json").read_text())}
    assert set(rows) == {"nothing", "prompts", "fedavg"}
    for row in rows.values():
        assert row["engine"] == "in process"
        assert len(row["round_seconds"]) == (2 if row["method"] == "fedavg" else 3)
        assert all(seconds > 0 for seconds in row["round_seconds"])
        assert row["memory_mib"]["server"] > 50
        assert row["bytes_up"] > 0
    assert rows["fedavg"]["bytes_up"] > 100 * rows["prompts"]["bytes_up"]  # a model, three rounds
    assert 0 <= rows["fedavg"]["accuracy"] <= 1
    assert rows["prompts"]["broadcast_seconds"] > 0


def test_what_cannot_be_measured_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "clients", "--method", "fedsgd"])
    assert done.exit_code == 2
    assert "'fedsgd'" in done.output
