"""`fgl deploy init`: a folder for the server and one for each node, with all that each of them needs and no more."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cryptography import x509

from experiments.deploy import certificates as tls
from experiments.deploy import scripts
from experiments.deploy.hosts import Hosts
from fgl_flower.errors import ConfigError
from fgl_flower.files import write_bytes

AUTHORITY = "authority"  # folder of the authority's key, which no host needs


def init(hosts: Hosts, out: Path) -> list[str]:
    """Write the files of a federation and return what was made, a line each.

    In a folder that holds them already, nothing secret is made anew: keys stay, nodes are added, scripts and the
    server's certificate are written again.

    Raises
    ------
    ConfigError
        If the folder cannot be written.
    """
    try:
        return _init(hosts, out)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or out}: {error.strerror}") from None


def _init(hosts: Hosts, out: Path) -> list[str]:
    made: list[str] = []
    ca_key = tls.read_key(_secret(out / AUTHORITY / "ca.key", lambda: tls.pem(tls.new_key()), made))
    ca_file = out / AUTHORITY / "ca.crt"
    if not ca_file.exists():
        _write(ca_file, tls.certificate_pem(tls.authority(ca_key, hosts.name)))
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())

    server = out / "server"
    server_key = tls.read_key(_secret(server / "server.key", lambda: tls.pem(tls.new_key()), made))
    addresses = list(dict.fromkeys([hosts.server.address, *hosts.server.also, "localhost", "127.0.0.1"]))
    certificate = tls.server_certificate(server_key, addresses, hosts.days, ca, ca_key)
    _write(server / "server.pem", tls.certificate_pem(certificate))
    _write(server / "ca.crt", ca_file.read_bytes())
    _write(server / "connection.toml", scripts.connection(hosts).encode())
    _script(server / "start.sh", scripts.server_start(hosts))
    _script(server / "register.sh", scripts.server_register(hosts))
    _write(server / "fgl-superlink.service", scripts.unit("SuperLink", hosts.name, "fgl-superlink").encode())
    made.append(f"server/: certificate for {', '.join(addresses)}, valid for {hosts.days} days")

    for number, name in enumerate(hosts.nodes):
        folder = out / "nodes" / name
        public = server / "nodes" / f"{name}.pub"
        if not (folder / "node.key").exists():
            private, public_key = tls.openssh(tls.new_key())
            _secret(folder / "node.key", partial(bytes, private), made)
            _write(public, public_key)
        _write(folder / "ca.crt", ca_file.read_bytes())
        if not (folder / "policy.toml").exists():  # the owner's from now on
            _write(folder / "policy.toml", scripts.policy().encode())
        _script(folder / "start.sh", scripts.node_start(hosts, name, number))
        _write(folder / "fgl-supernode.service", scripts.unit("Node", hosts.name, "fgl-supernode").encode())
    return made


def _secret(path: Path, make: Callable[[], bytes], made: list[str]) -> bytes:
    """Return a secret file's bytes, made if it is missing; only its owner may read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        data = make()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, data)
        finally:
            os.close(file)
        made.append(f"{path.parent.name}/{path.name}: new key")
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)


def _script(path: Path, text: str) -> None:
    _write(path, text.encode())
    path.chmod(0o755)
