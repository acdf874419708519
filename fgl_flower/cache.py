"""What is slow to make and the same each time, kept on disk: in a deployment every message is handled by a new process.

Deleting the folder costs time and nothing else: what is missing, damaged or cannot be written is made again.
"""

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from fgl_flower.files import write_bytes

__all__ = ["cache_dir", "cached_array", "caches_are_written", "without_writing"]

_READ_ONLY: list[bool] = []


@contextmanager
def without_writing() -> Iterator[None]:
    """Read the caches of this project and write none, for a while: for commands that only look."""
    _READ_ONLY.append(True)
    try:
        yield
    finally:
        _READ_ONLY.pop()


def caches_are_written() -> bool:
    """Return whether what has been made may be kept for later."""
    return not _READ_ONLY


def cache_dir() -> Path:
    """Return the folder for what can be made again: `fgl-flower` in $XDG_CACHE_HOME or the platform's cache folder.

    A user without a home folder gets one among the temporary files.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "fgl-flower"
    with suppress(RuntimeError):  # neither HOME nor the password file names a home folder
        if (folder := user_cache_path("fgl-flower", appauthor=False)).is_absolute():
            return folder
    return Path(tempfile.gettempdir(), f"fgl-flower-{os.getuid()}")


def cached_array(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return an array from the cache, or make it and keep it there.

    Parameters
    ----------
    kind : str
        What the array is: names the folder inside the cache.
    key : str
        A hash of all that the array depends on.
    make : callable
        Returns the array, of numbers or bytes; called where the cache has none.

    Returns
    -------
    numpy.ndarray
        Mapped into memory, read-only, if it comes from the cache.
    """
    path = cache_dir() / kind / f"{key}.npy"
    with suppress(OSError, ValueError, EOFError):  # not there, or not whole
        return np.lib.format.open_memmap(path, mode="r")  # takes no pickle
    made = make()
    if not caches_are_written():
        return made
    data = io.BytesIO()
    np.save(data, made, allow_pickle=False)
    with suppress(OSError):  # a full or read-only disk: the next process makes it again
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(path, data.getvalue())
    return made
