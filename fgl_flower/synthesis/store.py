"""Where drawn images are kept: parquet shards, filed under their content address, shared by all runs.

    PATH/shards/<digest of its keys>.parquet     immutable; `datasets.load_dataset(PATH)` opens them
    PATH/.lock                                   held for the moment of a commit

A shard is written to a hidden file beside its place, flushed to disk and moved into place under the lock, after keys
that another writer has committed meanwhile are dropped: so a reader never sees half a shard, a killed writer leaves at
most a hidden file, and no image is filed twice.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fgl_flower.errors import StoreError

if TYPE_CHECKING:
    from fgl_flower.learning.images import Images
    from fgl_flower.synthesis.plan import SynthesisPlan

ROWS_PER_GROUP = 64

_FEATURES = {
    "key": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "prompt": {"dtype": "string", "_type": "Value"},
    "label": {"dtype": "string", "_type": "Value"},
    "domain": {"dtype": "string", "_type": "Value"},
    "seed": {"dtype": "int64", "_type": "Value"},
    "settings": {"dtype": "string", "_type": "Value"},
    "pixels_sha256": {"dtype": "string", "_type": "Value"},
}
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("prompt", pa.string()),
        ("label", pa.string()),
        ("domain", pa.string()),
        ("seed", pa.int64()),
        ("settings", pa.string()),
        ("pixels_sha256", pa.string()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
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
    seed : int
        Seed of its noise.
    settings : str
        JSON of the sampling settings.
    pixels_sha256 : str
        Hash of the pixels, (S, S, 3) uint8 in C order.
    """

    key: str
    png: bytes
    prompt: str
    label: str
    domain: str
    seed: int
    settings: str
    pixels_sha256: str

    def pixels(self) -> np.ndarray:
        """Return the decoded image, (S, S, 3) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.png)).convert("RGB"))


def pixel_digest(pixels: np.ndarray) -> str:
    """Return the hash of (S, S, 3) uint8 pixels."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


class SyntheticStore:
    """A folder of drawn images.

    Parameters
    ----------
    path : str or Path
        The store's folder; made when the first image is added.

    Raises
    ------
    StoreError
        If the path is not a folder, or a shard cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store {self.path} is a file: name a folder")
        self.shards = self.path / "shards"
        self._index: dict[str, tuple[str, int]] = {}  # key -> (shard's file name, row)
        self._known: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that other writers have committed or removed since."""
        try:
            present = {entry.name for entry in os.scandir(self.shards) if not entry.name.startswith(".")}
        except FileNotFoundError:
            present = set()
        if gone := self._known - present:
            self._index = {k: place for k, place in self._index.items() if place[0] not in gone}
            self._known -= gone
        for name in sorted(present - self._known):
            with suppress(FileNotFoundError):  # merged away by another process between listing and reading
                for row, key in enumerate(self._read(name, ["key"]).column("key").to_pylist()):
                    self._index[key] = (name, row)
                self._known.add(name)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def keys(self) -> Iterable[str]:
        """Return the keys of all images."""
        return self._index.keys()

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys without an image, in order and once each, other writers' latest shards included."""
        self.refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._index]

    def add(self, images: Sequence[SyntheticImage]) -> int:
        """File images as one shard and return how many were new.

        Parameters
        ----------
        images : sequence of SyntheticImage
            Those whose key is already filed are left out.

        Raises
        ------
        StoreError
            If the disk is full or cannot be written; the store is as it was before.
        """
        try:
            self.shards.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self.refresh()
                new = list({i.key: i for i in images if i.key not in self._index}.values())
                if new:
                    self._commit(new)
            return len(new)
        except OSError as error:
            raise StoreError(_explain(error, self.path)) from error

    def _commit(self, images: list[SyntheticImage]) -> None:
        columns: dict[str, list[Any]] = {
            name: [getattr(i, name) for i in images] for name in SCHEMA.names if name != "image"
        }
        columns["image"] = [{"bytes": i.png, "path": f"{i.key}.png"} for i in images]
        self._write(pa.table(columns, schema=SCHEMA))

    def _write(self, table: pa.Table) -> str:
        """Write one shard in one move and index it; the caller holds the lock."""
        keys = table.column("key").to_pylist()
        name = hashlib.blake2b("".join(keys).encode(), digest_size=16).hexdigest() + ".parquet"
        part = self.shards / f".{name}.{os.getpid()}"
        try:
            with part.open("wb") as file:
                pq.write_table(
                    table,
                    file,
                    row_group_size=ROWS_PER_GROUP,
                    compression="zstd",
                    use_dictionary=["prompt", "label", "domain", "settings"],
                    write_page_checksum=True,
                )
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.shards / name)
            _sync_folder(self.shards)
        finally:
            part.unlink(missing_ok=True)
        self._index.update({key: (name, row) for row, key in enumerate(keys)})
        self._known.add(name)
        return name

    def read(self, keys: Sequence[str]) -> Iterator[SyntheticImage]:
        """Yield the images of these keys, shard by shard (not in the order asked for), one shard in memory at a time.

        Raises
        ------
        StoreError
            If an image is not in the store or a shard is damaged.
        """
        rows: dict[str, list[int]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            if key not in self._index:
                raise StoreError(f"image {key} is not in the store {self.path}: fill the plan first")
            name, row = self._index[key]
            rows[name].append(row)
        for name, wanted in rows.items():
            table = self._read(name, SCHEMA.names).take(sorted(wanted))
            for record in table.to_pylist():
                yield SyntheticImage(png=record.pop("image")["bytes"], **record)

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the pixel hash of each key."""
        wanted = set(keys)
        found: dict[str, str] = {}
        for name in {self._index[key][0] for key in wanted if key in self._index}:
            table = self._read(name, ["key", "pixels_sha256"])
            pairs = zip(table.column("key").to_pylist(), table.column("pixels_sha256").to_pylist(), strict=True)
            found.update({key: value for key, value in pairs if key in wanted})
        return found

    def digest(self, plan: "SynthesisPlan") -> str:
        """Return SHA-256 over the pixel hashes of a plan's images in plan order: equal for equal training sets."""
        found = self.hashes(plan.keys)
        if absent := [key for key in plan.keys if key not in found]:
            raise StoreError(f"{len(absent)} images of the plan are not in the store {self.path}: fill it first")
        return hashlib.sha256("".join(found[key] for key in plan.keys).encode()).hexdigest()

    def images(self, plan: "SynthesisPlan", size: int, classes: Sequence[str], domains: Sequence[str] = ()) -> "Images":
        """Return a plan's images, in plan order, for training.

        Parameters
        ----------
        plan : SynthesisPlan
        size : int
            Side in pixels; images of another size are scaled (antialiased).
        classes, domains : sequence of str
            Names in the order of their indices; a domain that is not listed becomes -1.

        Raises
        ------
        StoreError
            If images are missing or a label is not among `classes`.
        """
        import torch

        from fgl_flower.learning.images import Images

        label_index = {name: i for i, name in enumerate(classes)}
        domain_index = {name: i for i, name in enumerate(domains)}
        if unknown := {i.label for i in plan.images} - set(label_index):
            raise StoreError(f"the plan has labels the classifier does not know: {', '.join(sorted(unknown))}")
        pixels = np.empty((len(plan), size, size, 3), dtype=np.uint8)
        places: dict[str, list[int]] = defaultdict(list)
        for position, key in enumerate(plan.keys):
            places[key].append(position)
        for image in self.read(plan.keys):
            pixels[places[image.key]] = _scaled(image.png, size)
        return Images(
            pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),  # (N, 3, S, S), channels last in memory
            labels=torch.tensor([label_index[i.label] for i in plan.images], dtype=torch.int64),
            domains=torch.tensor([domain_index.get(i.domain, -1) for i in plan.images], dtype=torch.int64),
        )

    def _read(self, name: str, columns: list[str]) -> pa.Table:
        try:
            return pq.read_table(
                self.shards / name, columns=columns, partitioning=None, memory_map=True, use_threads=False
            )
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise StoreError(
                f"shard {name} of the store {self.path} is damaged ({error}): run `fgl store gc`"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _scaled(png: bytes, size: int) -> np.ndarray:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC))


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain(error: OSError, path: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"no space left for the store {path}: free some and run again; what was drawn before is kept"
    return f"cannot write the store {path}: {error.strerror or error}"
