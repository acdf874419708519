"""`fgl deploy check`: what is wrong with a node, or with the server, before a run finds out."""

import os
import shlex
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryptography import x509

from clients.own_data import OwnData
from clients.policy import Policy
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.records.environment import versions

_MOST_SKEW = 300  # seconds: beyond it Flower refuses a node's signature
_LEAST_FREE = 2 * 2**30  # bytes
_SOON = 30  # days


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what, whether it is well, and what is there or to be done."""

    what: str
    well: bool
    text: str


def check(folder: Path, config: RunConfig | None = None) -> list[Finding]:
    """Return what is found on a host whose files `fgl deploy init` made; data is checked by the classes of `config`."""
    script = folder / "start.sh"
    try:
        told = script.read_text(encoding="utf-8")
    except OSError:
        raise ConfigError(f"{folder} holds no start.sh: it is no folder that fgl deploy init made for a host") from None
    looks = [_programs, _disk, *([_node] if "flower-supernode" in told else [_server])]
    result: list[Finding] = []
    for look in looks:
        result += look(folder, told, config)
    return result


def _programs(folder: Path, told: str, config: RunConfig | None) -> Iterator[Finding]:
    program = "flower-supernode" if "flower-supernode" in told else "flower-superlink"
    places = [os.path.join(os.environ["FGL_VENV"], "bin")] if "FGL_VENV" in os.environ else []
    found = shutil.which(program, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    advice = "not on the path: activate the environment, or set FGL_VENV"
    yield Finding("program", bool(found), f"{program} {'found' if found else advice}")
    here = versions()
    told_versions = ", ".join(
        f"{name} {here[name]}" for name in ("python", "fgl-flower", "flwr", "torch") if name in here
    )
    yield Finding("versions", True, f"{told_versions}: they must be the server's")


def _disk(folder: Path, told: str, config: RunConfig | None) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk", free >= _LEAST_FREE, f"{free / 2**30:.1f} GiB free" + ("" if free >= _LEAST_FREE else ", 2 are needed")
    )


def _node(folder: Path, told: str, config: RunConfig | None) -> Iterator[Finding]:
    words = shlex.split(told.replace("\\\n", " "), comments=True)
    option = {words[i]: words[i + 1] for i in range(len(words) - 1) if words[i].startswith("--")}
    host, _, port = option["--superlink"].rpartition(":")
    yield from _reach(folder, host, int(port))
    yield _local_port(int(option["--port"]))
    key = folder / "node.key"
    readable = key.exists() and not key.stat().st_mode & 0o077
    yield Finding("key", readable, "only its owner can read it" if readable else "node.key must be there, mode 600")
    from flwr.common.config import parse_config_args

    node_config = parse_config_args([option["--node-config"].replace("$PWD", str(folder.resolve()))])
    yield _attempt("policy", lambda: _rules(str(node_config["policy"])))
    own = OwnData.of(node_config)
    if own is None:
        yield Finding("data", True, "a share of the run's data set, of which this machine needs a copy")
    elif config is None:
        yield Finding("data", True, f"{own.data}: not looked at, give the run's file with --run")
    else:
        yield _attempt("data", lambda: _images(own, config))


def _server(folder: Path, told: str, config: RunConfig | None) -> Iterator[Finding]:
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    yield _validity(certificate)
    addresses = [str(one.value) for one in names]
    yield Finding("addresses", True, f"the certificate is for {', '.join(addresses)}")
    nodes = sorted(path.stem for path in (folder / "nodes").glob("*.pub"))
    yield Finding("nodes", bool(nodes), f"{len(nodes)} keys to register: {', '.join(nodes)}")


def _reach(folder: Path, host: str, port: int) -> Iterator[Finding]:
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    began = time.time()
    try:
        with (
            socket.create_connection((host, port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=host) as connection,
        ):
            certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = connection.recv(4096).decode("latin-1")
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            "certificate", False, f"{error.verify_message}: is ca.crt the server's, and {host} in its certificate?"
        )
        return
    except OSError as error:
        yield Finding("server", False, f"nobody answers at {host}:{port} ({error}): is it up, is the port open?")
        return
    yield Finding("server", True, f"{host}:{port} answers")
    yield _validity(certificate)
    dates = [line.partition(":")[2].strip() for line in answer.splitlines() if line.lower().startswith("date:")]
    if dates:
        skew = abs(parsedate_to_datetime(dates[0]).timestamp() - began)
        well = skew < _MOST_SKEW
        yield Finding(
            "clock", well, f"{skew:.0f} s from the server's" + ("" if well else f", at most {_MOST_SKEW} are allowed")
        )


def _validity(certificate: x509.Certificate) -> Finding:
    left = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    return Finding(
        "certificate",
        left >= _SOON,
        f"valid for {left} days" + ("" if left >= _SOON else ": run fgl deploy init again"),
    )


def _local_port(port: int) -> Finding:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return Finding("port", False, f"{port} is taken on this machine (by the node itself, if it runs)")
    return Finding("port", True, f"{port} is free")


def _attempt(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except ConfigError as error:
        return Finding(what, False, str(error))


def _rules(path: str) -> str:
    rules = Policy.read(path)
    return "levels: " + (", ".join(rules.levels) if rules.levels is not None else "all")


def _images(own: OwnData, config: RunConfig) -> str:
    source = own.load(config)
    notes = "".join(f"; {note}" for note in source.notes)
    return f"{len(source.table):,} images of {len(set(source.table.labels.tolist()))} classes{notes}"
