"""Where drawn images are kept: parquet shards, filed under their content address, shared by all runs.

    PATH/shards/<hash of its keys>.parquet     immutable; `datasets.load_dataset(PATH)` opens them
    PATH/.lock                                   held for the moment of a commit

A shard is written to a hidden file beside its place, flushed to disk and moved into place under the lock, after keys
that another writer has committed meanwhile are dropped: so a reader never sees half a shard, a killed writer leaves at
most a hidden file, and no image is filed twice.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgl_flower.errors import StoreError
from fgl_flower.synthesis.shards import (
    SCHEMA,
    SyntheticImage,
    explain,
    locked,
    read_shard,
    shard_folder,
    shard_names,
    write_shard,
)

if TYPE_CHECKING:
    from fgl_flower.learning.images import Images
    from fgl_flower.synthesis.plan import SynthesisPlan


class SyntheticStore:
    """A folder of drawn images; one object a thread, any number of processes.

    Parameters
    ----------
    path : str or Path
        The store's folder; made when the first image is added.

    Raises
    ------
    StoreError
        If the path is not a folder, or a shard is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"the store {self.path} is a file: name a folder")
        self._index: dict[str, tuple[str, int]] = {}  # key -> (shard, row)
        self._known: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that others have committed or removed since."""
        present = set(shard_names(self.path))
        if gone := self._known - present:
            self._index = {key: place for key, place in self._index.items() if place[0] not in gone}
            self._known -= gone
        for name in present - self._known:
            try:
                keys = read_shard(self.path, name, ["key"]).column("key").to_pylist()
            except FileNotFoundError:  # merged into another shard since it was listed
                continue
            self._index.update((key, (name, row)) for row, key in enumerate(keys))
            self._known.add(name)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def keys(self) -> Iterable[str]:
        """Return the keys of all images."""
        return self._index.keys()

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys without an image, in order and once each, others' latest shards included."""
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
            with locked(self.path):
                self.refresh()
                new = list({i.key: i for i in images if i.key not in self._index}.values())
                if new:
                    name = write_shard(shard_folder(self.path), SyntheticImage.table(new))
                    self._index.update((image.key, (name, row)) for row, image in enumerate(new))
                    self._known.add(name)
            return len(new)
        except OSError as error:
            raise StoreError(explain(error, self.path)) from error

    def read(self, keys: Iterable[str]) -> Iterator[SyntheticImage]:
        """Yield the images of these keys shard by shard, so not in the order asked for; one shard is in memory at once.

        Raises
        ------
        StoreError
            If an image is not in the store or a shard is damaged.
        """
        wanted = set(keys)
        while wanted:
            rows: dict[str, list[int]] = defaultdict(list)
            for key in wanted:
                if key not in self._index:
                    raise StoreError(f"image {key} is not in the store {self.path}: fill the plan first")
                rows[self._index[key][0]].append(self._index[key][1])
            for name, chosen in rows.items():
                try:
                    table = read_shard(self.path, name, SCHEMA.names)
                except FileNotFoundError:  # merged into another shard since: look where its images are now
                    self.refresh()
                    break
                for image in SyntheticImage.rows(table, sorted(chosen)):
                    wanted.discard(image.key)
                    yield image

    def hashes(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the hash of the pixels of each key that is in the store."""
        wanted = set(keys)
        result: dict[str, str] = {}
        for name in {self._index[key][0] for key in wanted if key in self._index}:
            table = read_shard(self.path, name, ["key", "pixels_sha256"])
            pairs = zip(table.column("key").to_pylist(), table.column("pixels_sha256").to_pylist(), strict=True)
            result.update((key, value) for key, value in pairs if key in wanted)
        return result

    def digest(self, plan: "SynthesisPlan") -> str:
        """Return SHA-256 over the pixel hashes of a plan's images in plan order: equal for equal training sets.

        Raises
        ------
        StoreError
            If images of the plan are missing.
        """
        self.refresh()
        result = self.hashes(plan.keys)
        if absent := sum(key not in result for key in plan.keys):
            raise StoreError(f"{absent} images of the plan are not in the store {self.path}: fill it first")
        return hashlib.sha256("".join(result[key] for key in plan.keys).encode()).hexdigest()

    def images(self, plan: "SynthesisPlan", size: int, classes: Sequence[str], domains: Sequence[str] = ()) -> "Images":
        """Return a plan's images in plan order, for training; see `fgl_flower.synthesis.decoding.decode_plan`."""
        from fgl_flower.synthesis.decoding import decode_plan

        self.refresh()
        return decode_plan(self, plan, size, classes, domains)
