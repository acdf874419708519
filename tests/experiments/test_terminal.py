"""What `fgl` prints: nothing is cut, no encoding and no reader ends a run, and problems are told at the end."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.cli import terminal
from fgl_flower.config import RunConfig
from fgl_flower.records.result import Failure
from tests.commands import fgl
from tests.made_runs import made_run

ROOT = Path(__file__).parents[2]
LONG = "a-name-of-a-run-that-is-longer-than-a-terminal-is-wide-and-would-hide-all-of-the-figures"
FIGURES = ("40.0 %", "80.0 %", "18.4 MB", "3.2 MB", "1 min 25 s")  # of `made_run`
RUN = """
method = "fedavg"
rounds = 1
clients = 2
partition = "iid"
local-epochs = 1
private-images = 40
validation-images = 20
test-images = 20
device = "cpu"
"""


SHOW = """
import sys
from experiments.cli.terminal import prepare_output, show_runs
from fgl_flower.records.reading import read_run
prepare_output()
show_runs([read_run(path) for path in sys.argv[1:]])
"""  # what `fgl report` prints, without the seconds that importing matplotlib takes


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "experiments.cli", *map(str, arguments)]


def showing(*runs: Path) -> list[str]:
    return [sys.executable, "-c", SHOW, *map(str, runs)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def printed(command: Sequence[str], **more: str) -> str:
    done = subprocess.run(command, env=environment(**more), capture_output=True, check=True)
    assert b"\x1b" not in done.stdout
    return done.stdout.decode(more.get("PYTHONIOENCODING", "utf-8"))


def on_a_terminal(command: Sequence[str], columns: int) -> str:
    """Return what the command prints on a pseudo terminal so many columns wide."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    plain = environment(TERM="dumb", NO_COLOR="1")
    for size in ("COLUMNS", "LINES"):
        plain.pop(size, None)
    with subprocess.Popen(command, env=plain, stdout=theirs, stderr=theirs, stdin=theirs):
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError as error:  # Linux's way to say that the other end is closed
            if error.errno != errno.EIO:
                raise
    os.close(ours)
    return text.decode()


@pytest.fixture
def long_run(tmp_path: Path) -> Path:
    path = made_run(tmp_path, "fedavg", rounds=2)
    return path.rename(tmp_path / LONG)


def test_nothing_is_cut_in_a_file_or_pipe(long_run: Path) -> None:
    keys = printed(command("config"), COLUMNS="80")
    assert "…" not in keys
    defaults = [json.dumps(value) for value in RunConfig().to_flat().values()]
    assert all(default in keys for default in defaults)
    table = printed(showing(long_run), COLUMNS="40")
    assert all(part in table for part in (LONG, *FIGURES))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_long_name_hides_no_figures_on_a_terminal(long_run: Path, columns: int) -> None:
    shown = on_a_terminal(showing(long_run), columns)
    assert all(part in shown for part in FIGURES)
    assert "…" not in shown
    assert LONG in "".join(line.split("  ")[0].strip() for line in shown.splitlines()[3:])  # folded, not cut
    assert max(map(len, shown.splitlines())) <= max(columns, 80)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_encoding_ends_a_command(tmp_path: Path, encoding: str) -> None:
    path = made_run(tmp_path, "fedavg", rounds=1, skipped={"\u4e2d": 1}).rename(tmp_path / "Ünï-\u4e2d-😀")
    text = printed(showing(path), PYTHONIOENCODING=encoding)
    assert r"\u4e2d" in text
    assert "40.0 %" in text


def test_a_reader_that_leaves_ends_nothing(tmp_path: Path) -> None:
    code = (
        "from experiments.cli.terminal import *\nfrom pathlib import Path\nprepare_output()\n"
        "for n in range(50):\n    console.print('x' * 1000)\n    errors.print('y')\n    print('z', flush=True)\n"
        "with progress_bars('a run') as watch: watch('rounds', 1, 2)\n"
        "Path('finished').touch()\n"
    )
    ours, theirs = os.pipe()
    os.close(ours)  # before anything is printed
    where = {"stdout": theirs, "stderr": theirs, "cwd": tmp_path}
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False, **where)  # type: ignore[call-overload]
    os.close(theirs)
    assert done.returncode == 0
    assert (tmp_path / "finished").exists()


def test_a_run_in_a_folder_whose_name_is_not_utf_8_ends_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"x\xff")
    folder.mkdir()
    (folder / "run.toml").write_text(RUN, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert fgl(monkeypatch, "run", folder / "run.toml", "--runs-dir", "runs", "--set", "name=odd") == 0
    assert r"x\udcff" in (folder / "runs" / "odd" / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_ends_no_command(unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command("config"), env=environment(PYTHONUNBUFFERED=unbuffered), stdout=full, stderr=full)
    assert done.returncode == 0


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with (
        terminal._Patient(theirs, "w") as stream,
        subprocess.Popen(
            [sys.executable, "-c", "import sys, time; time.sleep(0.3); print(len(sys.stdin.buffer.read()))"],
            stdin=ours,
            stdout=subprocess.PIPE,
        ) as reader,
    ):
        data = memoryview(bytes(1_000_000))  # a pipe holds 64 kB
        while data:
            data = data[stream.write(data) :]
        stream.close()
        os.close(ours)
        assert reader.stdout is not None
        assert int(reader.stdout.read()) == 1_000_000


def test_bars_into_a_file_are_a_line_each() -> None:
    code = (
        "from experiments.cli.terminal import *\n"
        "prepare_output()\n"
        "with progress_bars('a run') as watch:\n"
        "    for n in range(500): watch('rounds', n, 500); watch('synthesis', n, 500)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert len(done.stdout.strip().splitlines()) == 3
    assert all(character.isprintable() for character in done.stdout.replace("\n", ""))


def test_problems_are_told_below_the_table_and_marked_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lost = [
        Failure(client="1", reason="no reply in time", rounds=[1, 2, 3]),
        Failure(client="3", reason="x", rounds=[2]),
    ]
    bad = made_run(tmp_path, "fedavg", rounds=3, failures=lost, skipped={"client 2": 4}, quarantined={"0": "NaN"})
    (bad / "clients.log").write_text("Traceback", encoding="utf-8")
    good = made_run(tmp_path, "fgl")
    assert fgl(monkeypatch, "report", bad, good) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line.strip().startswith(("fedavg ", "fgl "))}
    assert rows["fedavg"][1] == "!"
    assert rows["fgl"][1] != "!"
    assert [line for line in lines if line.startswith("!")] == [
        "! fedavg: 2 of 5 clients failed: client 1 in rounds 1-3 (no reply in time); client 3 in round 2 (x)",
        "! fedavg: 1 of 5 clients was quarantined: client 0 (NaN)",
        "! fedavg: 4 unreadable images were left out: 4 of client 2",
        f"! fedavg: the clients' whole errors: {bad / 'clients.log'}",
    ]


def test_a_run_whose_clients_are_too_slow_says_so_at_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """By the round's timeout, in a real run: 1 of the clients answers before it, none of the others is asked."""
    file = tmp_path / "run.toml"
    file.write_text(RUN, encoding="utf-8")
    sets = [
        word
        for text in ("clients=5", "client-workers=1", "local-epochs=200", "round-timeout=0.3", "name=slow")
        for word in ("--set", text)
    ]
    assert fgl(monkeypatch, "run", file, "--runs-dir", tmp_path / "runs", *sets) == 0
    shown = capsys.readouterr().out
    assert "! slow: 4 of 5 clients failed: " in shown
    assert "in round 1 (no reply in time)" in shown
    result = json.loads((tmp_path / "runs" / "slow" / "result.json").read_text(encoding="utf-8"))
    assert {failure["reason"] for failure in result["failures"]} == {"no reply in time"}
