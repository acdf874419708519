"""`fgl store` and `fgl bench` from outside."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from experiments.bench.app import app as bench
from experiments.cli.store import app as store_app
from fgl_flower.synthesis.shards import shard_folder, shard_names
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.writer import encode_batch
from tests.made_images import drawn, plan_of


def store(*words: str) -> Result:
    return CliRunner().invoke(store_app, list(words))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    kept = SyntheticStore(tmp_path / "store")
    for image in [*drawn(plan_of(6)), *drawn(plan_of(4, guidance=7.0))]:
        kept.add([image])
    return tmp_path / "store"


def test_ls_lists_settings(filled: Path) -> None:
    done = store("ls", str(filled))
    assert done.exit_code == 0, done.output
    assert "10 images in 10 shards" in done.output
    assert "guidance 7" in done.output


def test_verify_gc_and_export(filled: Path, tmp_path: Path) -> None:
    assert "all sound" in store("verify", str(filled)).output
    assert "10 shards became 1" in store("gc", str(filled)).output
    shard = shard_folder(filled) / shard_names(filled)[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    damaged = store("verify", str(filled))
    assert (damaged.exit_code, "is damaged" in damaged.output.replace("\n", " ")) == (1, True)
    assert store("gc", str(filled)).exit_code == 0
    assert store("verify", str(filled)).exit_code == 0


def test_export(filled: Path, tmp_path: Path) -> None:
    wanted = store("ls", str(filled)).output
    settings = next(line.split()[0] for line in wanted.splitlines() if "guidance 7" in line)
    assert "4 images written" in store("export", str(tmp_path / "out"), str(filled), "--settings", settings).output
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4
    assert store("export", str(tmp_path / "out"), str(filled)).exit_code == 2
    refused = store("export", str(tmp_path / "other"), str(filled), "--settings", "nothing")
    assert refused.exit_code == 2
    assert settings in refused.output
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("command", [["ls"], ["verify"], ["gc"], ["export", "out"]])
def test_no_store_is_bad_input(command: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert store(*command, str(missing)).exit_code == 2
    assert not missing.exists()


def test_bench_measures_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.bench.reference_loop.STEPS", 4)
    words = ["synthesis", "--generator", str(tiny_checkpoint), "--device", "cpu", "--repeats", "1", "-o", str(tmp_path)]
    done = CliRunner().invoke(bench, words)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "bench-synthesis.json").read_text())["contestants"]
    assert [row["name"] for row in rows] == ["reference loop", "engine, equal settings", "engine, few steps"]
    assert rows[0]["ratio"]["median"] == 1
    assert all(row["images_per_second"]["median"] > 0 and row["memory_bytes"] > 0 for row in rows)


def test_bench_of_a_missing_generator_is_bad_input() -> None:
    done = CliRunner().invoke(bench, ["synthesis", "--generator", "/nowhere/model", "--device", "cpu"])
    assert (done.exit_code, "/nowhere/model" in done.output.replace("\n", "")) == (2, True)


def test_verify_counts_images_that_show_nothing(filled: Path) -> None:
    plan = plan_of(8, seed=1)
    black = encode_batch(plan.images, torch.zeros(8, 3, 32, 32, dtype=torch.uint8), plan.settings.to_json())
    SyntheticStore(filled).add(black)
    done = store("verify", str(filled))
    shown = " ".join(done.output.split())
    assert done.exit_code == 0
    assert "8 images are nearly constant" in shown
    assert "of 'a photo of a circle'; ..." in shown or "of 'a sketch of a star'; ..." in shown
    assert "18 images in 11 shards: all sound" in shown
    assert "exit code stays 0" in " ".join(store("verify", "--help").output.split())
