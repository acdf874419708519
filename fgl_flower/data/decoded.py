"""Decoded images of one size: a few in memory, many in a file of the cache folder that is mapped and kept by content.

A file holds nothing but pixels, (n, S, S, 3) uint8, of the images that can be read. Beside it lies a journal of JSON
lines: after each piece the number of images gone through and kept, and those that cannot be read. Decoding goes on
where the journal ends if the process was killed; the file is whole when the journal has come to the last image. One
process decodes, others that want the same images wait for it. The name of both is a hash of the images (`stamp`), their
size and the code that decodes. Pages of a mapped file are the kernel's: it drops them when memory runs short.
"""

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from logging import INFO
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import PIL
from filelock import FileLock
from flwr.supercore import log

from fgl_flower.cache import cache_dir
from fgl_flower.data import decoding
from fgl_flower.data.decoding import pictures, to_square
from fgl_flower.data.rows import Rows
from fgl_flower.errors import DataError

__all__ = ["MAPPED_BYTES", "Decoded", "Progress", "decoded", "stamp"]

MAPPED_BYTES = 16 * 2**20
"""Pixels that take more lie in a mapped file: the built-in world never does."""

_RESERVE = 2**30  # bytes that stay free on the disk
_PIECE = 512  # images between two lines of the journal, at most
_PIECE_BYTES = 16 * 2**20  # of their pixels, at most

Progress = Callable[[int, int], None]
"""Told how many images of how many are decoded."""


def _silent(done: int, total: int) -> None: ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """The images of some rows that can be read.

    Attributes
    ----------
    pixels : numpy.ndarray
        (n, S, S, 3) uint8; read-only where mapped.
    rows : numpy.ndarray
        (n,) int64, their positions among the rows, ascending.
    unread : dict of int to str
        Position of each other row, and a sentence that names the file and says why it cannot be read.
    path : Path, optional
        The file that is mapped; None: the pixels are in memory.
    """

    pixels: np.ndarray
    rows: np.ndarray
    unread: dict[int, str]
    path: Path | None = None
    _mapping: mmap.mmap | None = field(default=None, repr=False)

    @classmethod
    def mapped(cls, path: Path, rows: np.ndarray, unread: dict[int, str], size: int) -> Self:
        """Return the images in a file.

        Raises
        ------
        OSError, ValueError
            If the file is not there or not of these images' length.
        """
        with path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # outlives the handle
        return cls(np.frombuffer(mapping, np.uint8).reshape(len(rows), size, size, 3), rows, unread, path, mapping)

    def release(self) -> None:
        """Unmap what has been read of a file from this process' memory; the next access finds it in the kernel's."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as the name of the file, where there is one; None where the file is not there."""
        if self.path is None:
            return Decoded, (self.pixels, self.rows, self.unread)
        return _reopened, (self.path, self.rows, self.unread, self.pixels.shape[1])


def _reopened(path: Path, rows: np.ndarray, unread: dict[int, str], size: int) -> Decoded | None:
    try:
        return Decoded.mapped(path, rows, unread, size)
    except (OSError, ValueError):
        return None


def stamp(record: Mapping[str, Any]) -> str:
    """Return what stands for an image: a hash of its bytes or, of a file, of its path, size and time of change.

    Parameters
    ----------
    record : {"bytes", "path"}
        An image as it is stored.
    """
    content = record["bytes"]
    if content is None:
        with suppress(OSError):
            status = os.stat(record["path"])
            content = f"{record['path']} {status.st_size} {status.st_mtime_ns}".encode()
    return hashlib.blake2b(content or b"", digest_size=16).hexdigest()


def decoded(rows: Rows, size: int, *, keep: bool = False, progress: Progress = _silent) -> Decoded:
    """Return the images that can be read, and why the others cannot.

    Parameters
    ----------
    rows : Rows
    size : int
        Side of the square images, in pixels.
    keep : bool
        Whether they are kept on disk although they would fit into `MAPPED_BYTES`: for the next process.
    progress : Progress

    Raises
    ------
    DataError
        If the images fit neither on the disk nor into half of the free memory.
    """
    need = len(rows) * 3 * size**2
    why = ""
    if need and (keep or need > MAPPED_BYTES):
        try:
            return _kept(rows, size, progress)
        except OSError as error:
            why = error.strerror or str(error)
    if need > MAPPED_BYTES:
        import psutil

        if need > (free := psutil.virtual_memory().available / 2):
            raise DataError(
                f"{len(rows):,} decoded images of {size} px take {need / 1e9:.1f} GB, more than half of the free "
                f"memory ({2 * free / 1e9:.1f} GB), and {cache_dir()} cannot take them ({why}): make room there, let "
                "XDG_CACHE_HOME name another folder, or lower image-size"
            )
    pixels = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    good, unread = list[int](), dict[int, str]()
    for piece, images, lost in _pieces(rows, size, 0, progress):
        pixels[len(good) : len(good) + len(piece)] = images
        good += piece
        unread |= lost
    return Decoded(pixels[: len(good)], np.array(good, dtype=np.int64), unread)


def _pieces(
    rows: Rows, size: int, start: int, progress: Progress
) -> Iterator[tuple[list[int], np.ndarray, dict[int, str]]]:
    """Yield, of a piece of the rows at a time from `start` on: positions and pixels of what can be read, the others.

    The next piece overwrites the pixels.
    """
    piece = max(1, min(_PIECE, _PIECE_BYTES // (3 * size**2)))
    block = np.empty((piece, size, size, 3), dtype=np.uint8)
    for first in range(start, len(rows), piece):
        last = min(first + piece, len(rows))
        pixels = block[: last - first]
        good, lost = list[int](), dict[int, str]()
        for i, picture in enumerate(pictures(rows.select(np.arange(first, last)).records(), first), first):
            if isinstance(picture, DataError):
                lost[i] = str(picture)
            else:
                pixels[len(good)] = np.asarray(to_square(picture, size))
                good.append(i)
        yield good, pixels[: len(good)], lost
        progress(last, len(rows))


def _kept(rows: Rows, size: int, progress: Progress) -> Decoded:
    """Return the images from the cache, where they are first decoded to if they are not there."""
    folder = cache_dir() / "decoded"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _key(rows, size)
    path, journal_path = folder / f"{key}.pixels", folder / f"{key}.jsonl"
    with _alone(journal_path) as journal:
        done, good, unread = _read(journal, len(rows))
        image_bytes = 3 * size**2
        if path.exists() and path.stat().st_size < good * image_bytes:  # somebody cut it off
            done, good, unread = 0, 0, {}
        if done < len(rows) or not path.exists():
            _make_room(folder, (len(rows) - done) * image_bytes, {path, journal_path})
            if not path.exists():
                done, good, unread = 0, 0, {}
            with path.open("ab") as file:
                file.truncate(good * image_bytes)
                if not done:
                    journal.truncate(0)
                for piece, images, lost in _pieces(rows, size, done, progress):
                    file.write(images.data)
                    file.flush()
                    os.fsync(file.fileno())  # pixels first: a line of the journal vouches for them
                    good, unread = good + len(piece), unread | lost
                    done += len(piece) + len(lost)
                    line = {"done": done, "kept": good, "unread": list(lost.items())}
                    journal.write(json.dumps(line) + "\n")
                    journal.flush()
        else:
            progress(len(rows), len(rows))
        for file_path in (path, journal_path):
            os.utime(file_path)  # used now: see `_make_room`
        readable = np.setdiff1d(np.arange(len(rows)), np.fromiter(unread, np.int64, len(unread)))
        if not len(readable):  # an empty file cannot be mapped
            return Decoded(np.empty((0, size, size, 3), np.uint8), readable, unread)
        return Decoded.mapped(path, readable, unread, size)


@contextmanager
def _alone(path: Path) -> Iterator[IO[str]]:
    """Open a file for reading and appending while no other process has it; waits for one that has."""
    with FileLock(path.with_suffix(".lock")), path.open("a+", encoding="utf-8") as file:
        yield file


def _read(journal: IO[str], total: int) -> tuple[int, int, dict[int, str]]:
    """Return how many images a journal has gone through and kept, and those that cannot be read.

    What follows the last whole line, of a process that was killed, is cut off.
    """
    done, kept, unread, end = 0, 0, dict[int, str](), 0
    journal.seek(0)
    for line in journal.read().splitlines(keepends=True):
        try:
            told = json.loads(line if line.endswith("\n") else "")
            done, kept = int(told["done"]), int(told["kept"])
            unread |= {int(position): str(sentence) for position, sentence in told["unread"]}
        except (ValueError, TypeError, KeyError):
            break
        end += len(line.encode())
    journal.truncate(end)
    return (done, kept, unread) if done <= total and kept + len(unread) == done else (0, 0, {})


def _make_room(folder: Path, need: int, spared: set[Path]) -> None:
    """Delete the decoded images that were used longest ago until `need` bytes fit on the disk and `_RESERVE` stays.

    Processes that have a file mapped keep it.

    Raises
    ------
    OSError
        If they do not fit nevertheless.
    """
    others: Sequence[Path] = sorted(
        (path for path in folder.glob("*.pixels") if path not in spared), key=lambda path: path.stat().st_mtime
    )
    for path in (*others, None):
        if (free := shutil.disk_usage(folder).free) >= need + _RESERVE:
            return
        if path is not None:
            log(INFO, "decoded images that were used longest ago make room on the disk: %s is deleted", path)
            path.unlink(missing_ok=True)
            path.with_suffix(".jsonl").unlink(missing_ok=True)
    raise OSError(f"{(need + _RESERVE) / 1e9:.1f} GB must be free, {free / 1e9:.1f} GB are")


def _key(rows: Rows, size: int) -> str:
    digest = hashlib.blake2b(f"{_code()} {size}\n".encode(), digest_size=16)
    for record in rows.stream():
        digest.update(stamp(record).encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code() -> str:
    """Return what changes when images may be decoded otherwise."""
    source = Path(decoding.__file__).read_bytes()
    return f"{PIL.__version__} {hashlib.blake2b(source, digest_size=16).hexdigest()}"
