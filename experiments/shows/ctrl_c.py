"""Ctrl-C at random moments of a run: seconds until it has ended, and the processes that it leaves.

python -m experiments.shows.ctrl_c [--engine ray] [--times 10] [--within 25] [--signal SIGINT] [--set KEY=VALUE ...]
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from fgl_flower.errors import ConfigError
from fgl_flower.records.reading import read_run

MARK = "FGL_SHOW"  # in the environment of all that a run starts, whoever its parent is by now
LIMIT = 10.0  # seconds
RUN = 'method = "fedavg"\nrounds = 1000\nclients = 3\nprivate-images = 600\nvalidation-images = 60\ntest-images = 60\n'


def processes(mark: str) -> list[psutil.Process]:
    """Return the processes that carry a mark and still run."""
    result = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                result.append(process)
    return result


def interrupt(command: list[str], wait: Callable[[], None], number: int) -> tuple[float, int, int, list[str]]:
    """Start a program, signal it and all its group as a terminal does once `wait` returns, and wait for its end.

    Returns
    -------
    tuple
        Seconds until the end, exit code, processes that ran before the signal, names of those that are left.
    """
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        command,
        env={**os.environ, MARK: mark},
        start_new_session=True,
        preexec_fn=_default_signals,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        wait()
        before = len(processes(mark))
        began = time.monotonic()
        os.killpg(running.pid, number)
        with suppress(subprocess.TimeoutExpired):
            running.wait(6 * LIMIT)
        seconds = time.monotonic() - began
        left = processes(mark)
        names = [process.name() for process in left]
        for process in left:
            process.kill()
    return seconds, running.returncode, before, names


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job would ignore it, and so would this program


def main() -> None:
    """Print a line for each time; exit code 1 if one took more than 10 s or left a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="ray")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--within", type=float, default=25.0, help="seconds from the start")
    parser.add_argument("--signal", default="SIGINT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    sets = [word for setting in given.set for word in ("--set", setting)]
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.toml")
        file.write_text(RUN, encoding="utf-8")
        for turn in range(given.times):
            runs = Path(folder, str(turn))
            arguments = ["run", str(file), "--engine", given.engine, "--runs-dir", str(runs), *sets]
            command = [sys.executable, "-m", "experiments.cli", *arguments]
            after = moments.uniform(0.5, given.within)
            seconds, code, before, left = interrupt(command, partial(time.sleep, after), getattr(signal, given.signal))
            broken += seconds > LIMIT or bool(left)
            print(
                f"{after:5.1f} s after the start, {before:2} processes: ended after {seconds:4.1f} s with exit code "
                f"{code}, left {', '.join(left) or 'none'}; run folder: {_state(runs)}",
                flush=True,
            )
    print(f"{given.times - broken} of {given.times} ended within {LIMIT:.0f} s and left nothing")
    sys.exit(broken > 0)


def _state(runs: Path) -> str:
    try:
        run = read_run(next(path for path in runs.iterdir() if path.name != "store"))
    except (OSError, StopIteration, ConfigError):
        return "none yet"
    return f"{run.state}, {run.reason}"


if __name__ == "__main__":
    main()
