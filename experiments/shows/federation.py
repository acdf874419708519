"""A federation of real processes on one machine: TLS, keys, policies, own data, each node in a network of its own.

As root on Linux each node gets a network namespace behind a virtual cable, whose counters are what the operating system
says was sent; elsewhere all share the loopback address. Everything is set up by `fgl deploy init` alone, and every
command is printed as one would type it.

    python -m experiments.shows.federation OUT --nodes 10
"""

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomli_w
from flwr.cli.build import build_fab_from_disk

from experiments.deploy.app import stage
from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import CLASSES
from fgl_flower.files import read_json, write_json

BIN = Path(sys.executable).parent
_POLL = 3.0  # seconds between two requests of an idle node of Flower 1.41
# Named after the process, so that two federations on one machine are not in each other's way.
_CABLE = f"fgl{os.getpid() % 100_000}"
_NETWORK = f"10.77.{os.getpid() % 256}"


class Federation:
    """Processes of one federation.

    Parameters
    ----------
    out : Path
        Receives `fgl deploy init`'s folders.
    nodes : dict of str to dict
        What hosts.toml says of each node.
    namespaces : bool
        Whether each node gets a network of its own; needs root and `ip`.
    """

    def __init__(self, out: Path, nodes: dict[str, dict[str, Any]], *, namespaces: bool) -> None:
        self.out = out
        self.nodes = nodes
        self.namespaces = namespaces
        self.address = f"{_NETWORK}.1" if namespaces else "127.0.0.1"
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.typed: list[str] = []

    @contextmanager
    def up(self, seconds: float = 90) -> Iterator[None]:
        """Write the files, start everything, and stop it at the end."""
        out = self.out
        out.mkdir(parents=True, exist_ok=True)
        nodes = {name: {"port": free_port(), **told} for name, told in self.nodes.items()}
        server = {"address": self.address, "port": self.port}
        (out / "hosts.toml").write_text(tomli_w.dumps({"name": "trial", "server": server, "nodes": nodes}))
        self.command("fgl", "deploy", "init", "hosts.toml", "hosts")
        try:
            if self.namespaces:
                _lay_cables(list(self.nodes))
            self.start_server(seconds)
            self.command("hosts/server/register.sh")
            for name in self.nodes:
                self.start_node(name)
            yield
        finally:
            for name in list(self.processes):
                self.stop(name)
            if self.namespaces:
                _take_cables(list(self.nodes))

    def start_server(self, seconds: float = 90) -> None:
        """Start the SuperLink and wait until it listens; after a crash it goes on with its database."""
        self._start("server", ["hosts/server/start.sh"])
        end = time.monotonic() + seconds
        while not _listens(self.address, self.port):
            if time.monotonic() > end:
                raise TimeoutError(f"the SuperLink does not listen: {self.out / 'server.log'}")
            time.sleep(0.3)

    def start_node(self, name: str) -> None:
        """Start a SuperNode, behind its cable if it has one."""
        where = ["ip", "netns", "exec", _namespace(name)] if self.namespaces and name in self.nodes else []
        self._start(name, [*where, f"hosts/nodes/{name}/start.sh"])

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop a host's process and all that it started."""
        process = self.processes.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, and remember it as it would be typed."""
        self.typed.append(shlex.join(words))
        done = subprocess.run(
            [*self._program(words)], cwd=self.out, env=self.environment(), capture_output=True, text=True
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(words)}: {done.stdout[-800:]}{done.stderr[-800:]}")
        return done

    def sent(self) -> dict[str, tuple[int, int]]:
        """Return bytes up and down of each node as the operating system counts them, Ethernet frames."""
        result = {}
        for number, name in enumerate(self.nodes):
            counters = Path(f"/sys/class/net/{_CABLE}v{number}/statistics")
            result[name] = tuple(int((counters / f"{way}_bytes").read_text()) for way in ("rx", "tx"))
        return result  # type: ignore[return-value]

    def said(self, name: str) -> str:
        """Return what a host's process has printed."""
        return (self.out / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def log_of(self, name: str) -> Path:
        """Return the owner's log of a node."""
        return self.out / "hosts" / "nodes" / name / "sent.jsonl"

    def _program(self, words: Sequence[str]) -> list[str]:
        own = BIN / words[0]
        return [str(own) if own.exists() else words[0], *words[1:]]

    def _start(self, name: str, words: list[str]) -> None:
        self.typed.append(f"{shlex.join(words)} &")
        with (self.out / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                words, cwd=self.out, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )

    def environment(self) -> dict[str, str]:
        """Return what a host's scripts need to find this project."""
        own = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as systemd would start it
        return {**own, "FGL_VENV": str(BIN.parent), "OMP_NUM_THREADS": "1"}


def can_lay_cables() -> bool:
    """Return whether this machine lets us make a network namespace behind a virtual cable, by making one."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    try:
        _lay_cables(["probe"])
    except RuntimeError:
        return False
    finally:
        _take_cables(["probe"])
    return True


def _lay_cables(nodes: Sequence[str]) -> None:
    _ip(f"link add {_CABLE}b type bridge")
    _ip(f"addr add {_NETWORK}.1/24 dev {_CABLE}b")
    _ip(f"link set {_CABLE}b up")
    for number, name in enumerate(nodes):
        space = _namespace(name)
        _ip(f"netns add {space}")
        # Both ends are made in the namespace and one is taken out: the name of the inner end is free there alone.
        _ip(f"-n {space} link add {_CABLE}v{number} type veth peer name eth0")
        _ip(f"-n {space} link set {_CABLE}v{number} netns {os.getpid()}")
        _ip(f"link set {_CABLE}v{number} master {_CABLE}b up")
        for inside in (f"addr add {_NETWORK}.{number + 2}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip(f"-n {space} {inside}")


def _take_cables(nodes: Sequence[str]) -> None:
    for number, name in enumerate(nodes):
        for words in (f"link del {_CABLE}v{number}", f"netns del {_namespace(name)}"):
            with suppress(RuntimeError):
                _ip(words)
    with suppress(RuntimeError):
        _ip(f"link del {_CABLE}b")


def _namespace(name: str) -> str:
    return f"{_CABLE}-{name}"


def _ip(command: str) -> None:
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {command}: {done.stderr.strip()}")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


def _listens(address: str, port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((address, port)) == 0


def write_shares(config: RunConfig, folder: Path) -> list[Path]:
    """Write the share of each client of a simulation as a folder of images of its own, and return the folders."""
    source = load_source(config)
    shares = partition(source.private, config)
    result = []
    for number in range(config.clients):
        place = folder / str(number)
        for i, row in enumerate(shares.load(number)):
            file = place / source.classes[row["label"]] / f"{i:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(file)
        result.append(place)
    return result


def main() -> None:
    """Show a one-shot run with a FedAvg round on many nodes, and what the operating system says was sent."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--idle", type=float, default=60, help="seconds of polling that are measured before the run")
    told = parser.parse_args()
    out = told.out.resolve()
    count = told.nodes
    config = RunConfig(
        dataset="world",
        classes=", ".join(CLASSES),
        clients=count,
        rounds=1,
        images_per_class=20,
        server_epochs=8,
        local_epochs=1,
        prompt_level="class-style",
        name="federation",
        runs_dir=str(out / "runs"),
        node_timeout=300,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.toml").write_text(tomli_w.dumps({k: v for k, v in config.to_flat().items() if v != ""}))
    shares = write_shares(RunConfig(private_images=60 * count, clients=count), out / "shares")
    nodes = {f"node-{i}": {"data": f"folder:{share}"} for i, share in enumerate(shares)}
    federation = Federation(out, nodes, namespaces=can_lay_cables())
    with federation.up():
        time.sleep(20)
        before = federation.sent() if federation.namespaces else {}
        time.sleep(told.idle)
        rested = federation.sent() if federation.namespaces else {}
        began = time.monotonic()
        done = federation.command("fgl", "deploy", "run", "run.toml", "hosts/server")
        seconds = time.monotonic() - began
        after = federation.sent() if federation.namespaces else {}
    print("typed:", *federation.typed, sep="\n  ")
    print(done.stdout)
    if not federation.namespaces:
        print("no network namespaces here: what the operating system counts cannot be told apart")
        return
    ledger = read_json(out / "runs/federation/ledger.json")
    requests, bundle = ledger["requests_per_client"], _bundle_bytes(out)
    print(f"{requests:,.0f} requests a node; the app's bundle has {bundle:,} bytes")
    rows = []
    for way, i in (("up", 0), ("down", 1)):
        idle = sum(rested[n][i] - before[n][i] for n in rested) / count / told.idle
        whole = sum(after[n][i] - rested[n][i] for n in rested) / count
        counted = sum(client[way] for client in ledger["bytes_by_client"].values()) / count
        protocol = requests * idle * _POLL
        rest = whole - idle * seconds - protocol - (bundle if way == "down" else 0)
        row = {"idle_bytes_a_second": idle, "whole": whole, "ledger": counted, "protocol": protocol, "rest": rest}
        rows.append({"way": way, **row})
        print(
            f"{way}, a node: {whole:,.0f} bytes on the cable in {seconds:.0f} s; {idle:,.0f} a second of them polling, "
            f"{idle * _POLL:,.0f} a request; ledger {counted:,.0f}, requests {protocol:,.0f}; what is left is "
            f"{rest / counted:.3f} times the ledger"
        )
    write_json(out / "cable.json", {"seconds": seconds, "nodes": count, "bundle": bundle, "ways": rows})


def _bundle_bytes(folder: Path) -> int:
    """Return the size of the app as `fgl deploy run` uploads it and each node fetches it."""
    app = folder / "app"
    app.mkdir(exist_ok=True)
    stage(app)
    return len(build_fab_from_disk(app))


if __name__ == "__main__":
    main()
