"""A full disk costs a page, events or a cache, never what took longest to make; a model that is lost is said."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgl_flower import files
from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.files import keep, read_json
from fgl_flower.records import run_folder
from fgl_flower.records.reading import read_run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder
from tests.made_runs import made_run

RUN = """
method = "fedavg"
name = "one"
rounds = 1
clients = 2
local-epochs = 1
private-images = 60
validation-images = 30
test-images = 30
"""


def fgl_run(folder: Path, largest: int) -> "subprocess.CompletedProcess[str]":
    """Run a small federation in a process that can write no file of more than `largest` bytes."""
    file = folder / "run.toml"
    file.write_text(RUN, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", "run", str(file), "--runs-dir", str(folder)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_model_that_cannot_be_written_ends_the_run_with_what_is_needed(tmp_path: Path) -> None:
    done = fgl_run(tmp_path, 100_000)
    assert done.returncode == 1
    told = re.search(
        r"cannot write model.safetensors into (.*): File too large \(([\d,]+) bytes are needed", done.stderr
    )
    assert told is not None
    assert Path(told[1]) == tmp_path / "one"
    assert 300_000 < int(told[2].replace(",", "")) < 400_000, "small-resnet's 83,000 parameters of four bytes"
    assert "bytes are free)" in done.stderr
    assert read_run(tmp_path / "one").state == "failed"
    assert not list((tmp_path / "one").glob(".*.part"))


Break = Callable[[int], None]


@pytest.fixture
def break_writes(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Return a function that lets the next so many writes fail for want of room."""
    write, left = files.write_bytes, [0]
    monkeypatch.setattr(files, "PAUSE", 0.0)

    def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        write(path, data, durable=durable)

    monkeypatch.setattr(files, "write_bytes", write_bytes)
    return lambda times: left.__setitem__(0, times)


def test_what_must_not_be_lost_is_written_at_the_second_try(tmp_path: Path, break_writes: Break) -> None:
    break_writes(1)
    keep(tmp_path / "model", b"tensors")
    assert (tmp_path / "model").read_bytes() == b"tensors"
    break_writes(2)
    with pytest.raises(RunError, match=r"cannot write model into .*: No space left on device \(3 bytes are needed, "):
        keep(tmp_path / "model", b"new")
    assert (tmp_path / "model").read_bytes() == b"tensors"


def config(folder: Path) -> RunConfig:
    return RunConfig.parse({"method": "fedavg", "rounds": 1, "runs-dir": str(folder), "name": "one"})


def test_a_run_that_fails_for_want_of_room_is_marked_where_the_old_status_stands(
    tmp_path: Path, break_writes: Break
) -> None:
    folder = RunFolder.create(config(tmp_path))
    break_writes(10**6)
    folder.fail("no room")
    status = read_json(folder.path / "status.json")
    assert (status["state"], status["reason"]) == ("failed", "no room")
    assert read_run(folder.path).state == "failed"


def test_an_extra_that_cannot_be_written_stands_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = config(tmp_path)

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with RunFolder.create(wanted) as folder, monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_json", no_room)
        folder.save_partition(np.array([[1, 2]]), ["a", "b"])
        folder.save_ledger({})
        folder.finish(Result.of(wanted, accuracy=0.5))
    run = read_run(folder.path)
    assert run.state == "finished"
    assert run.result is not None
    assert run.result.accuracy == 0.5
    reason = "is not written or not whole: No space left on device"
    assert run.result.warnings == [f"partition.json {reason}", f"ledger.json {reason}"]


def test_the_line_after_a_torn_event_is_read(tmp_path: Path) -> None:
    folder = RunFolder.create(config(tmp_path))
    folder.log({"event": "epoch", "epoch": 1})
    events = folder.path / "metrics.jsonl"
    whole = events.read_bytes()
    events.unlink()
    events.mkdir()  # nothing can be appended to it
    folder.log({"event": "epoch", "epoch": 2})
    events.rmdir()
    events.write_bytes(whole + b'{"event": "epo')
    folder.log({"event": "epoch", "epoch": 3})
    run = read_run(folder.path)
    assert [event["epoch"] for event in run.events if event["event"] == "epoch"] == [1, 3]
    assert folder.warnings == ["events are missing from metrics.jsonl: Is a directory"]


def test_a_report_of_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    run = made_run(tmp_path / "runs")
    (run / "report.html").unlink(missing_ok=True)
    (run / "report.html").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "report", str(run)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("fgl: ")
