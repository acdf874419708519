"""`fgl deploy run`: start a run on a SuperLink, wait for it, and say how it ended, which `flwr run` does not."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

from experiments.deploy.app import stage
from experiments.deploy.scripts import HERE
from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.files import read_json, write_text
from fgl_flower.records.process import GONE, why_gone

Watch = Callable[[str, int, int], None]

_POLL, _ASK = 1.0, 15.0  # seconds between two looks at the run folder, and between two questions to Flower
_ONCE = {"synthesis", "server-training"}  # phases that are over when another begins
_SILENT = 180.0  # seconds for a SuperLink to be started again


def start(config: RunConfig, server: Path, connection: str) -> int:
    """Start a run and return Flower's number of it.

    Parameters
    ----------
    config : RunConfig
        Its `runs-dir` must be absolute: the server's working folder is the SuperLink's.
    server : Path
        The server's folder, as `fgl deploy init` made it.
    connection : str
        Name of the SuperLink in its flwr/config.toml; empty: the default.
    """
    with tempfile.TemporaryDirectory(prefix="fgl-app-") as place:
        app = Path(place, "app")
        app.mkdir()
        stage(app)
        keys = Path(place, "run.toml")
        keys.write_text(tomli_w.dumps(config.to_flat()), encoding="utf-8")
        told = flwr(server, "run", str(app), *([connection] if connection else []), "-c", str(keys), "--format", "json")
    answer = json_of(told)
    if not answer.get("success") or "run-id" not in answer:
        raise RunError(
            f"flwr did not start the run: {' '.join(str(answer.get('error-message') or told).split())[-400:]}"
        )
    return int(answer["run-id"])


def wait(run_id: int, server: Path, connection: str, folder: Callable[[], Path | None], watch: Watch) -> str:
    """Wait until Flower says that a run has ended, tell `watch` of its progress, and return its status.

    Raises
    ------
    RunError
        If the SuperLink does not answer any more.
    """
    last: tuple[str, int, int] | None = None
    ask_at, heard = 0.0, time.monotonic()
    while True:
        path, state = folder(), "unknown"
        if path is not None:
            told = read_json(path / "status.json", {})
            state = told.get("state", "unknown")
            if state == "running" and why_gone(told) == GONE:  # Flower itself takes a minute to notice
                return "the ServerApp was killed"
            seen = read_json(path / "progress.json", {})
            now = (seen.get("phase", ""), seen.get("done", 0), seen.get("total", 0))
            if now[2] and now != last:
                if last and last[0] != now[0] and last[0] in _ONCE:  # its end fell between two looks
                    watch(last[0], last[2], last[2])
                watch(*now)
                last = now
        if state != "running" or time.monotonic() >= ask_at:  # asking costs a process of Flower's each time
            status = status_of(run_id, server, connection)
            if status.startswith("finished"):
                return status
            heard = time.monotonic() if status else heard
            if time.monotonic() - heard > _SILENT:
                raise RunError(
                    f"the SuperLink has not answered for {_SILENT:g} s: is it up? run {run_id} may go on there"
                )
            ask_at = time.monotonic() + _ASK
        time.sleep(_POLL)


def status_of(run_id: int, server: Path, connection: str) -> str:
    """Return what Flower says of a run, for instance finished:completed; "" if it does not answer."""
    try:
        where = [connection] if connection else []
        told = flwr(server, "list", *where, "--run-id", str(run_id), "--format", "json")
    except RunError:
        return ""  # the SuperLink is being restarted
    runs = json_of(told).get("runs", [])
    return str(runs[0]["status"]) if runs else ""


def flwr(server: Path, *arguments: str) -> str:
    """Return what `flwr` prints, called with the server's connection and keys."""
    program, home = Path(sys.executable).parent / "flwr", server.resolve() / "flwr"
    home.mkdir(exist_ok=True)
    told = (server / "connection.toml").read_text(encoding="utf-8")
    write_text(home / "config.toml", told.replace(HERE, str(server.resolve())))
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    try:
        done = subprocess.run(
            [str(program), *arguments], env=environment, cwd=server, capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"flwr {arguments[0]} does not answer: {error}") from None
    if not done.stdout.strip():
        raise RunError(f"flwr {arguments[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def json_of(text: str) -> dict[str, Any]:
    """Return the JSON object in what `flwr` has printed; empty if there is none."""
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
