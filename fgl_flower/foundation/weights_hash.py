"""What stands for a revision where a model lies in a plain folder: a hash of its files."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

_ALWAYS = frozenset({".json", ".safetensors", ".txt"})
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg", ".mp4"})
_PROSE = frozenset({".md", ".rst", ".pdf", ".html", ".log"})
_LEFTOVERS = frozenset({".pyc", ".lock", ".tmp", ".part", ".incomplete"})
_IGNORED = _PICTURES | _PROSE | _LEFTOVERS

_SETTLED_SECONDS = 2.0  # a file changed later than this before it was hashed may change again within one clock tick

_State = tuple[tuple[str, str, str, int, int, int], ...]
_KNOWN: dict[_State, str] = {}


def weights_hash(folders: tuple[Path, ...]) -> str:
    """Return a hash over names and bytes of the files that decide what a folder's model does.

    These are all files but fgl.json (whose settings are part of an image's key), prose, pictures, caches and names that
    begin with a dot. Files are read once a process; a folder in which a file changes is read again.
    """
    return _remembered([(f, path) for f in folders for path in sorted(f.rglob("*")) if _counts(path, f)], _hash)


def file_hash(path: Path) -> str:
    """Return SHA-256 over the bytes of one file, read once a process unless it changes."""
    return _remembered([(path.parent, path)], _hash_of_one)


def _remembered(files: list[tuple[Path, Path]], hashed: Callable[[list[tuple[Path, Path]]], str]) -> str:
    stats = [path.stat() for _, path in files]
    rows = zip(files, stats, strict=True)
    named = hashed.__name__
    state: _State = tuple((named, str(f), str(p), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for (f, p), s in rows)
    if state not in _KNOWN:
        began = time.time()
        value = hashed(files)
        if any(began - s.st_ctime < _SETTLED_SECONDS for s in stats):
            return value
        _KNOWN[state] = value
    return _KNOWN[state]


def _counts(path: Path, folder: Path) -> bool:
    if path.name == "fgl.json" or not path.is_file():
        return False
    if path.suffix in _ALWAYS:  # what stores of the first version are filed by
        return True
    inside = path.relative_to(folder)
    hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
    return not hidden and path.suffix.lower() not in _IGNORED and path.stem.upper() not in {"README", "LICENSE"}


def _hash(files: list[tuple[Path, Path]]) -> str:
    total = hashlib.sha256()
    for folder, path in files:
        total.update(f"{path.relative_to(folder).as_posix()} {_content(path)}\n".encode())
    return f"sha256:{total.hexdigest()[:32]}"


def _hash_of_one(files: list[tuple[Path, Path]]) -> str:
    return _content(files[0][1])


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
