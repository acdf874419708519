"""A signal ends a program within seconds, whatever it is doing, and leaves no process and no run marked as running."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from experiments.shows.ctrl_c import interrupt
from fgl_flower.records.reading import read_run
from fgl_flower.synthesis.maintenance import verify

START = """
import os, signal, subprocess, sys, threading, time
from fgl_flower import interrupts
from fgl_flower.interrupts import Interrupted, caught, on_interrupt
def up():
    print("up", flush=True)
"""


def heed() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background or `nohup` ignores some
        signal.signal(number, signal.SIG_DFL)


def ended(code: str, *signals: int, pause: float = 0.0) -> tuple[int, str, float]:
    """Run Python code, send it signals once it says "up", and return exit code, further output and seconds."""
    command = [sys.executable, "-c", START + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        began = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(pause)
        process.wait(30)
        return process.returncode, process.stdout.read(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_raised_and_is_the_exit_code(number: int) -> None:
    code = (
        "with caught():\n try:\n  up(); time.sleep(30)\n except KeyboardInterrupt:\n  print('saved'); sys.exit(130)\n"
    )
    assert ended(code, number)[:2] == (128 + number, "saved\n")


SWALLOWED = """
child = subprocess.Popen(["sleep", "60"])
print(child.pid)
interrupts.GRACE = {grace}
threading.Thread(target=time.sleep, args=(60,)).start()
with caught(), on_interrupt(lambda: print("marked", flush=True)):
    up()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


def test_a_program_that_does_not_heed_is_ended_with_its_children_and_says_its_last_words() -> None:
    code = SWALLOWED.format(grace=1.5).replace("print(child.pid)", "")
    up = 'print(f"up\\n{child.pid}", flush=True)'  # once the main thread is in its loop
    code = code.replace("up()", f"threading.Timer(0.3, lambda: {up}).start()")
    status, printed, seconds = ended(code, signal.SIGTERM)
    assert status == 143
    pid, word = printed.split()
    assert word == "marked"
    assert 1 < seconds < 8
    assert not psutil.pid_exists(int(pid))


def test_a_second_signal_does_not_wait_for_the_grace_but_a_pair_is_one() -> None:
    code = SWALLOWED.format(grace=20).replace("print(child.pid)", "")
    assert ended(code, signal.SIGINT, signal.SIGINT, pause=1.3)[2] < 8
    pair = (
        "with caught():\n try:\n  up(); time.sleep(30)\n"
        " except KeyboardInterrupt:\n  time.sleep(0.5); print('saved'); raise SystemExit(1)\n"
    )
    status, printed, _ = ended(pair, signal.SIGHUP, signal.SIGTERM)
    assert printed == "saved\n"
    assert status in {129, 143}  # of two that come while the process does not run, the system may deliver either first


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = (
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nwith caught():\n up(); time.sleep(0.5); print('done')\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
    )
    assert ended(code, signal.SIGHUP)[:2] == (0, "done\n")


def test_the_end_of_a_forked_child_is_not_the_end_of_its_parent() -> None:
    code = (
        "with caught():\n"
        " child = os.fork()\n"
        " if not child: time.sleep(30)\n"
        " time.sleep(0.3); os.kill(child, signal.SIGTERM); _, how = os.waitpid(child, 0)\n"
        " up(); time.sleep(1.5); print(how)\n"
    )
    assert ended(code)[:2] == (0, f"{signal.SIGTERM:d}\n")


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not happened() and time.monotonic() < end:
        time.sleep(0.1)


def fgl_run(folder: Path, *words: str) -> list[str]:
    sizes = {"private-images": 60, "validation-images": 60, "test-images": 60, "clients": 2, "partition": "iid"}
    file = folder / "run.toml"
    file.write_text("".join(f"{key} = {value!r}\n" for key, value in sizes.items()), encoding="utf-8")
    sets = ("--runs-dir", str(folder / "runs"), "--set", "name=one")
    return [sys.executable, "-m", "experiments.cli", "run", str(file), *sets, *words]


def test_what_an_interrupted_run_has_drawn_is_kept(tmp_path: Path) -> None:
    store = tmp_path / "runs/store"
    command = fgl_run(tmp_path, "--set", "method=fgl", "--set", "images-per-class=3000")
    seconds, code, _, left = interrupt(command, lambda: until(lambda: [*store.glob("shards/*")]), signal.SIGINT)
    assert (code, left) == (130, [])
    assert seconds < 10
    run = read_run(tmp_path / "runs/one")
    assert (run.state, run.reason) == ("failed", "interrupted")
    verdict = verify(store)
    assert verdict.problems == []
    assert 0 < verdict.images < 30_000


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_simulation_leaves_no_process(number: int, tmp_path: Path) -> None:
    events = tmp_path / "runs/one/metrics.jsonl"
    command = fgl_run(tmp_path, "--engine", "ray", "--set", "method=fedavg", "--set", "rounds=1000")

    def clients_have_trained() -> bool:  # before that Ray may not be up
        return events.exists() and '"round": 1,' in events.read_text(encoding="utf-8")

    seconds, code, before, left = interrupt(command, lambda: until(clients_have_trained), number)
    assert before > 1
    # SIGTERM to the whole group also ends the raylet, and where Ray's driver sees that first, it exits with 1.
    assert code in {128 + number, 1 if number == signal.SIGTERM else 130}
    assert left == []
    assert seconds < 10
    run = read_run(tmp_path / "runs/one")
    assert (run.state, run.reason) == ("failed", "interrupted")
