"""The app on a real federation: a SuperLink and SuperNodes on loopback, one badly set up, driven by `flwr run`."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fgl_flower.records.reading import read_run

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
CLIENTS = 3  # the last one's SuperNode lacks its partition-id


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a program in a neutral folder and stop it, and all that it started, at the end."""
    with (folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], env=environment, cwd=folder, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def flwr(*arguments: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [str(BIN / "flwr"), *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


def state_of_run(environment: dict[str, str], folder: Path) -> str:
    listed = flwr("list", "loopback", "--format", "json", environment=environment, folder=folder)
    return str(json.loads(listed)["runs"][0]["status"])


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_until(happened: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.5)


@pytest.mark.timeout(300)
def test_the_app_runs_on_a_superlink_with_supernodes_and_tells_of_one_that_fails(tmp_path: Path) -> None:
    link, *nodes = free_ports(1 + CLIENTS)
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    (tmp_path / "run.toml").write_text(
        'method = "fedavg"\nname = "deployed"\nrounds = 1\nclients = 3\npartition = "iid"\nlocal-epochs = 1\n'
        'model = "experiments.examples.own_classifier:plain_network"\n'
        f'private-images = 120\nvalidation-images = 60\ntest-images = 60\nruns-dir = "{tmp_path}"\n'
    )
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
    }
    with ExitStack() as stack:

        def start(*command: str) -> None:
            stack.enter_context(running(list(command), environment, tmp_path))

        start("flower-superlink", "--insecure", "--port", str(link))
        for number, port in enumerate(nodes):
            own = f"partition-id={number} num-partitions={CLIENTS}" if number < CLIENTS - 1 else "num-partitions=3"
            where = ("--superlink", f"127.0.0.1:{link}", "--port", str(port))
            start("flower-supernode", "--insecure", *where, "--node-config", own)
        wait_until(lambda: listens(link), seconds=60)
        started = flwr("run", str(ROOT), "loopback", "-c", "run.toml", environment=environment, folder=tmp_path)
        assert "Successfully started run" in started
        deployed = tmp_path / "deployed"
        wait_until(lambda: (deployed / "status.json").exists() and read_run(deployed).state != "running", seconds=200)
        wait_until(lambda: state_of_run(environment, tmp_path).startswith("finished"), seconds=30)
        status = state_of_run(environment, tmp_path)
    logs = "\n".join(log.read_text(errors="replace")[-3000:] for log in tmp_path.glob("*.log"))
    assert status == "finished:completed", logs
    run = read_run(deployed)
    assert run.result is not None
    assert run.result.engine == "deployment"
    assert run.result.bytes_up_per_client > 60_000  # two of three clients send 24,000 parameters of four bytes
    assert not run.result.quarantined
    [failure] = run.result.failures
    assert failure.client.startswith("node ")
    assert failure.rounds == [1]
    assert "partition-id = None in the node config must be 0 to 2" in failure.reason
    assert "Failed" in (deployed / "report.html").read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in logs  # the whole error, in the log of the SuperNode's owner
    assert not (deployed / "clients.log").exists()
    assert run.partition is None  # FedAvg's clients tell no class counts, and the server has no others
