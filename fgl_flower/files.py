"""Small files written in one move, so that a reader never sees half of one."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl_flower.errors import RunError

PAUSE = 2.0  # seconds before a write that failed is tried again


def write_json(path: Path, value: Mapping[str, Any] | list[Any], *, durable: bool = True) -> None:
    """Write JSON in one move; NumPy and torch values become plain ones. `durable`: see `write_bytes`."""
    write_text(path, to_json(value), durable=durable)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 text in one move; what UTF-8 cannot hold (names of files that are none) is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"), durable=durable)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write bytes to a file beside `path`, flush it to disk if it must outlive the machine, and move it into place."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # process ids repeat in containers that share a folder
    try:
        with part.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def keep(path: Path, data: bytes) -> None:
    """Write bytes that must not be lost: as `write_bytes`, and a second time if the first fails.

    Raises
    ------
    RunError
        If both fail; the sentence names the folder, what is needed and what is free.
    """
    try:
        write_bytes(path, data)
    except OSError:
        time.sleep(PAUSE)
        try:
            write_bytes(path, data)
        except OSError as error:
            raise RunError(cannot_write(error, path, len(data))) from error


def cannot_write(error: OSError, path: Path, need: int) -> str:
    """Return a sentence for a file of `need` bytes that cannot be written."""
    try:
        free = f"{shutil.disk_usage(path.parent).free:,} bytes are free"
    except OSError:
        free = "what is free is unknown"
    return f"cannot write {path.name} into {path.parent}: {error.strerror or error} ({need:,} bytes are needed, {free})"


def to_json(value: Mapping[str, Any] | list[Any]) -> str:
    """Return JSON as it stands in our files."""
    return json.dumps(value, indent=2, default=plain) + "\n"


def read_json(path: Path, default: Any = None) -> Any:
    """Return what a JSON file holds, or `default` where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a JSON-lines file: the last one of a killed run may be half a line."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events


def plain(value: Any) -> Any:
    """Turn NumPy and torch scalars and arrays and paths into what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not plain data")
