"""A hub on this machine's own address: folders served by the part of the hub's protocol that downloads use."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, and what was asked for.

    Attributes
    ----------
    repositories : mapping of str to Path
        "models/owner/name" or "datasets/owner/name" to a folder.
    moved : mapping of str to str
        Old names of repositories, "owner/name", to their new ones.
    endpoint : str
        For HF_ENDPOINT.
    asked : list of str
        Method and path of each request.
    """

    repositories: Mapping[str, Path]
    moved: Mapping[str, str]
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)

    def files(self, repository: str) -> list[Path]:
        """Return the files of a repository, relative to it."""
        folder = self.repositories[repository]
        return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@contextmanager
def loopback_hub(repositories: Mapping[str, Path], moved: Mapping[str, str]) -> Iterator[Hub]:
    """Serve repositories on a free port until the block ends."""
    hub = Hub(repositories, moved)

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        """Be quiet."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(f"{self.command} /{path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        for old, new in self.hub.moved.items():
            if f"/{old}/" in f"/{path}/":
                return self._send(307, b"", {"Location": f"/{path.replace(old, new, 1)}"})
        for repository in self.hub.repositories:
            kind, _, name = repository.partition("/")
            api, web = f"api/{repository}", name if kind == "models" else repository
            if path == api or path.startswith(f"{api}/"):
                return self._api(repository, path.removeprefix(api).strip("/"), body)
            if path.startswith(f"{web}/resolve/"):
                _, _, file = path.removeprefix(f"{web}/resolve/").partition("/")
                return self._file(self.hub.repositories[repository] / file)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _api(self, repository: str, rest: str, body: str) -> None:
        kind, _, name = repository.partition("/")
        files = self.hub.files(repository)
        if rest.startswith("tree/"):
            inside = "/".join(rest.split("/")[2:])
            listed = [self._entry(repository, file) for file in files if str(file).startswith(inside)]
            return self._json(listed)
        if rest.startswith("paths-info/"):
            wanted = set(json.loads(body).get("paths", [])) if body.startswith("{") else set()
            return self._json([self._entry(repository, file) for file in files if str(file) in wanted])
        if rest and not rest.startswith("revision/"):
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        return self._json(
            {
                "id": name,
                "sha": COMMIT,
                "siblings": [{"rfilename": str(file)} for file in files],
                "tags": [],
                "private": False,
                "downloads": 0,
                kind[:-1] + "Id": name,
            }
        )

    def _entry(self, repository: str, file: Path) -> dict[str, object]:
        data = (self.hub.repositories[repository] / file).read_bytes()
        return {"type": "file", "path": str(file), "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        data = path.read_bytes()
        tags = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if wanted := self.headers.get("Range"):
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            part = data[int(start) : int(end) + 1 if end else None]
            tags["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
            return self._send(206, part, tags)
        return self._send(200, data, tags)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
