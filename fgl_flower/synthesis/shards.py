"""One shard of the store: a parquet file of images with their origin, written in one move."""

import errno
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from PIL import Image

from fgl_flower.errors import StoreError

ROWS_PER_GROUP = 64
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_TEXT = ("key", "prompt", "prompt_digest", "label", "domain", "settings", "pixels_sha256")
_FEATURES = {
    **{name: {"dtype": "string", "_type": "Value"} for name in _TEXT},
    "seed": {"dtype": "int64", "_type": "Value"},
    "image": {"_type": "Image"},
}
SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in _TEXT],
        ("seed", pa.int64()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},  # lets `datasets` decode the images
)


@dataclass(frozen=True, slots=True)
class SyntheticImage:
    """One drawn image and where it came from.

    Attributes
    ----------
    key : str
        Content address, see `fgl_flower.synthesis.plan.content_key`.
    png : bytes
        The image, losslessly.
    prompt, label, domain : str
        As planned by the first run that drew it; a plan's own label holds where they differ.
    prompt_digest : str
        Hash of the prompt's text or embedding.
    seed : int
        Seed of its noise.
    settings : str
        JSON of the sampling settings.
    pixels_sha256 : str
        Hash of the pixels, see `pixel_hash`.
    """

    key: str
    png: bytes
    prompt: str
    prompt_digest: str
    label: str
    domain: str
    seed: int
    settings: str
    pixels_sha256: str

    def pixels(self) -> np.ndarray:
        """Return the decoded image, (S, S, 3) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.png)).convert("RGB"))

    @staticmethod
    def table(images: Sequence["SyntheticImage"]) -> pa.Table:
        """Return images as a table of `SCHEMA`."""
        columns: dict[str, list[Any]] = {n: [getattr(i, n) for i in images] for n in SCHEMA.names if n != "image"}
        columns["image"] = [{"bytes": i.png, "path": f"{i.key}.png"} for i in images]
        return pa.table(columns, schema=SCHEMA)

    @staticmethod
    def rows(table: pa.Table, rows: Sequence[int] | None = None) -> Iterator["SyntheticImage"]:
        """Yield the images of a table, or of some of its rows."""
        for batch in (table if rows is None else table.take(rows)).to_batches(max_chunksize=ROWS_PER_GROUP):
            for record in batch.to_pylist():
                yield SyntheticImage(png=record.pop("image")["bytes"], **record)


def pixel_hash(pixels: np.ndarray) -> str:
    """Return SHA-256 of (S, S, 3) uint8 pixels in C order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def shard_folder(store: Path) -> Path:
    """Return the folder of a store's shards."""
    return store / "shards"


def shard_names(store: Path) -> list[str]:
    """Return the file names of a store's shards, sorted; none where there is no store yet."""
    try:
        entries = os.scandir(shard_folder(store))
    except FileNotFoundError:
        return []
    return sorted(e.name for e in entries if e.name.endswith(".parquet") and not e.name.startswith("."))


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold a store's lock: nobody commits or merges meanwhile. The system frees it when its holder dies."""
    shard_folder(store).mkdir(parents=True, exist_ok=True)
    with FileLock(store / ".lock"):
        yield


def read_shard(store: Path, name: str, columns: list[str]) -> pa.Table:
    """Return columns of a shard; checksums of the pages are compared on the way.

    Raises
    ------
    FileNotFoundError
        If it is gone: another process may have merged it into another shard.
    StoreError
        If it is damaged.
    """
    try:
        with pq.ParquetFile(shard_folder(store) / name, memory_map=True, page_checksum_verification=True) as file:
            return file.read(columns, use_threads=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise StoreError(
            f"shard {name} of the store {store} is damaged ({why}): `fgl store gc {store}` keeps what can be read"
        ) from error


def write_shard(folder: Path, table: pa.Table) -> str:
    """Write a table as one shard in one move and return its file name, a hash of its keys.

    Raises
    ------
    OSError
        If it cannot be written; nothing but the shards before is left in the folder.
    """
    name = hashlib.blake2b("".join(table.column("key").to_pylist()).encode(), digest_size=16).hexdigest() + ".parquet"
    part = folder / f".{name}.{os.getpid()}"
    try:
        with part.open("wb") as file:
            pq.write_table(
                table,
                file,
                row_group_size=ROWS_PER_GROUP,
                compression="zstd",
                use_dictionary=["prompt", "prompt_digest", "label", "domain", "settings"],
                write_page_checksum=True,
            )
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
        sync_folder(folder)
    finally:
        part.unlink(missing_ok=True)
    return name


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain(error: OSError, path: Path) -> str:
    """Return a sentence for an error of writing the store at `path`."""
    if error.errno in NO_SPACE:
        return f"no space left for the store {path}: free some and run again; what was drawn before is kept"
    return f"cannot write the store {path}: {error.strerror or error}"
