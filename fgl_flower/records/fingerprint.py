"""What stands for the data of a run, so that a later command can tell whether they are still the same.

Files are looked at from outside (names, sizes, times), never read: ImageNet's 1.3 million take seconds. A fingerprint
is a hash and names no path of the machine.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fgl_flower.extension_points import DATASET

_DRAWING = tuple(f"fgl_flower.data.{module}" for module in ("shapes", "world", "codes", "jargon", "shifted"))


def data_fingerprint(dataset: str) -> str:
    """Return what stands for the data that the key `dataset` names, as they are when this process first asks.

    - "files:HASH" for a folder: its resolved path and the names, sizes and times of its files;
    - "world:HASH" for the built-in world: the code that draws it (its sizes are keys of their own);
    - "hub:ID@COMMIT" for a data set of the hub; the commit is empty where the hub's cache does not know it;
    - "nodes:" where each node has data of its own, of which the server knows nothing;
    - "code:HASH" for ``module:object``: the source of the module;
    - "" for a data set that is not there.
    """
    kind, _, place = dataset.partition(":")
    if DATASET.refers(dataset):
        return _source(kind)
    if dataset == "nodes":
        return "nodes:"
    if not place:
        return _drawing()
    folder = Path(os.path.expanduser(place))
    if folder.is_dir():
        return _files(folder.resolve())
    return f"hub:{place}@{_commit(place)}" if kind == "hub" else ""


@cache
def _files(folder: Path) -> str:
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=16)
    for line in _listing(os.fsencode(folder), set()):
        digest.update(line)
    return f"files:{digest.hexdigest()}"


def _listing(folder: bytes, above: set[tuple[int, int]]) -> Iterator[bytes]:
    """Yield a line a file; links are followed, but never to a folder that holds them; hidden files are no data."""
    try:
        here = os.stat(folder)
        names = sorted(name for name in os.listdir(folder) if not name.startswith(b"."))
    except OSError as error:
        yield b"%s unreadable %d\n" % (folder, error.errno or 0)
        return
    if (here.st_dev, here.st_ino) in above:
        return
    for name in names:
        path = os.path.join(folder, name)  # not of `os.scandir`, which keeps what it knows of each file
        try:
            status = os.stat(path)
        except OSError:  # a link to nothing
            status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            yield from _listing(path, above | {(here.st_dev, here.st_ino)})
        else:
            yield b"%s %d %d\n" % (path, status.st_size, status.st_mtime_ns)


@cache
def _drawing() -> str:
    digest = hashlib.sha256()
    for module in _DRAWING:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        digest.update(Path(spec.origin).read_bytes())
    return f"world:{digest.hexdigest()[:32]}"


def _source(module: str) -> str:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ""
    return f"code:{hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:32]}"


def _commit(name: str) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        reference = Path(HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "refs", "main")
        return reference.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
