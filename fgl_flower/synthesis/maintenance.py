"""Look after a store: what is in it, whether it is sound, tidying up, and taking images out as plain files."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fgl_flower.errors import StoreError
from fgl_flower.synthesis.plan import content_key
from fgl_flower.synthesis.quality import is_nearly_constant
from fgl_flower.synthesis.shards import (
    SCHEMA,
    SyntheticImage,
    explain,
    locked,
    pixel_hash,
    read_shard,
    shard_folder,
    shard_names,
    write_shard,
)

SHARD_IMAGES = 1024
SHARD_BYTES = 128 * 2**20

Progress = Callable[[int, int], None]  # (shards done, shards)


@dataclass(frozen=True)
class Contents:
    """The images of one setting.

    Attributes
    ----------
    settings_id : str
        First eight digits of the hash of the settings.
    settings : dict
        As in `SamplingSettings`.
    images, prompts, labels : int
    """

    settings_id: str
    settings: dict[str, object]
    images: int
    prompts: int
    labels: int


@dataclass
class Verdict:
    """What `verify` found.

    Attributes
    ----------
    images, shards : int
        Looked at.
    problems : list of str
        One sentence each; empty: the store is sound.
    nearly_constant : list of (str, str)
        Key and prompt of images that are black, white or of one colour (`fgl_flower.synthesis.quality`). They are
        sound: the generator drew them so.
    """

    images: int = 0
    shards: int = 0
    problems: list[str] = field(default_factory=list)
    nearly_constant: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Tidied:
    """What `tidy` did, in images, files and bytes."""

    shards_before: int
    shards_after: int
    images_lost: int
    images_dropped: int
    bytes_freed: int


def settings_id(settings: str) -> str:
    """Return the short name of sampling settings, as `fgl store ls` shows it."""
    return hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()


def contents(path: Path) -> list[Contents]:
    """Return what is in the store at `path`, by settings.

    Raises
    ------
    StoreError
        If a shard is damaged.
    """
    images: Counter[str] = Counter()
    prompts: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for name in shard_names(path):
        for row in read_shard(path, name, ["settings", "prompt", "label"]).to_pylist():
            images[row["settings"]] += 1
            prompts[row["settings"]].add(row["prompt"])
            labels[row["settings"]].add(row["label"])
    return [Contents(settings_id(s), json.loads(s), images[s], len(prompts[s]), len(labels[s])) for s in sorted(images)]


def verify(path: Path, progress: Progress | None = None) -> Verdict:
    """Read every image of the store at `path`: page checksums, keys against ingredients, pixels against their hash.

    Takes time in proportion to the images, and the memory of one shard.
    """
    verdict = Verdict()
    seen: dict[str, str] = {}
    names = shard_names(path)
    for done, name in enumerate(names, start=1):
        verdict.shards += 1
        try:
            for image in SyntheticImage.rows(read_shard(path, name, SCHEMA.names)):
                verdict.images += 1
                if problem := _problem(image):
                    verdict.problems.append(f"{name}: image {image.key}: {problem}")
                elif is_nearly_constant(image.pixels()):
                    verdict.nearly_constant.append((image.key, image.prompt))
                if image.key in seen:
                    verdict.problems.append(f"{name}: image {image.key} is also in {seen[image.key]}")
                seen[image.key] = name
        except StoreError as error:
            verdict.problems.append(str(error))
        if progress:
            progress(done, len(names))
    return verdict


def tidy(path: Path, drop: str = "", progress: Progress | None = None) -> Tidied:
    """Merge small shards, keep the sound images of damaged ones, and remove what killed writers left.

    Nobody can commit to the store meanwhile; readers may go on. A new shard is in place before those it replaces are
    removed, so an interruption loses nothing, and the next call removes what is then twice there.

    Parameters
    ----------
    path : Path
        The store's folder.
    drop : str
        Also remove the images whose `settings_id` this is.

    Raises
    ------
    StoreError
        If no image has these settings, or the disk is full.
    """
    try:
        with locked(path):
            return _Tidying(path, drop).run(progress)
    except OSError as error:
        raise StoreError(explain(error, path)) from error


def export(path: Path, destination: Path, only: str = "") -> int:
    """Write images as destination/<label>/<key>.png, with metadata.jsonl beside, and return how many.

    Parameters
    ----------
    path : Path
        The store's folder.
    destination : Path
        New or empty; `folder:DESTINATION` is a data set then.
    only : str
        Images of this `settings_id` alone; empty: all.

    Raises
    ------
    StoreError
        If the destination holds something, a shard is damaged or the disk is full.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise StoreError(f"{destination} is not an empty folder: name another")
    count = 0
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with (destination / "metadata.jsonl").open("w", encoding="utf-8") as index:
            for image in (i for n in shard_names(path) for i in SyntheticImage.rows(read_shard(path, n, SCHEMA.names))):
                if only and settings_id(image.settings) != only:
                    continue
                folder = destination / (re.sub(r"[^\w -]", "_", image.label) or "_")  # labels are clients' words
                folder.mkdir(exist_ok=True)
                (folder / f"{image.key}.png").write_bytes(image.png)
                origin = {"prompt": image.prompt, "domain": image.domain, "seed": image.seed}
                row = {"file_name": f"{folder.name}/{image.key}.png", "label": image.label, **origin}
                index.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise StoreError(explain(error, destination)) from error
    return count


def _problem(image: SyntheticImage) -> str:
    if content_key(image.settings, image.prompt_digest, image.seed) != image.key:
        return "its key is not that of its settings, prompt and seed"
    try:
        pixels = image.pixels()
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on a broken PNG
        return f"cannot be decoded: {error}"
    return "" if pixel_hash(pixels) == image.pixels_sha256 else "its pixels are not those that were drawn"


class _Tidying:
    """One pass over the shards of a store whose lock is held."""

    def __init__(self, path: Path, drop: str) -> None:
        self.path = path
        self.folder = shard_folder(path)
        self.drop = drop
        self.seen: set[str] = set()
        self.written: set[str] = set()
        self.waiting: list[pa.Table] = []
        self.parents: list[str] = []

    def run(self, progress: Progress | None) -> Tidied:
        names = shard_names(self.path)
        size = self._bytes()
        lost = dropped = 0
        # Large shards first: what an interrupted merge left is then found to be in the merged shard already.
        for done, name in enumerate(sorted(names, key=lambda n: -(self.folder / n).stat().st_size), start=1):
            table, unsound = _sound_rows(self.folder / name)
            unwanted = [bool(self.drop) and settings_id(s) == self.drop for s in table["settings"].to_pylist()]
            keep = [k not in self.seen and not u for k, u in zip(table["key"].to_pylist(), unwanted, strict=True)]
            lost, dropped = lost + unsound, dropped + sum(unwanted)
            self.seen.update(table["key"].to_pylist())
            if unsound or not all(keep) or not _large([table]):
                self.parents.append(name)
                self.waiting.append(table.filter(pa.array(keep, pa.bool_())))
                if _large(self.waiting):
                    self._merge()
            if progress:
                progress(done, len(names))
        self._merge()
        if self.drop and not dropped:
            raise StoreError(f"no image of the store {self.path} has the settings {self.drop!r}: see `fgl store ls`")
        for part in self.folder.glob(".*"):  # only written under the lock, which is ours: its writer is dead
            part.unlink()
        return Tidied(len(names), len(shard_names(self.path)), lost, dropped, size - self._bytes())

    def _merge(self) -> None:
        """Write the waiting rows as one shard, and only then remove the shards they came from."""
        if any(table.num_rows for table in self.waiting):
            self.written.add(write_shard(self.folder, pa.concat_tables(self.waiting)))
        for name in self.parents:
            if name not in self.written:
                (self.folder / name).unlink()
        self.waiting, self.parents = [], []

    def _bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir())


def _large(tables: list[pa.Table]) -> bool:
    return sum(t.num_rows for t in tables) >= SHARD_IMAGES or sum(t.nbytes for t in tables) >= SHARD_BYTES


def _sound_rows(path: Path) -> tuple[pa.Table, int]:
    """Return the sound rows of a shard and how many others there are (1 if the file does not even tell)."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [_group(file, i) for i in range(file.num_row_groups)]
            total = file.metadata.num_rows
    except (pa.ArrowException, OSError):
        return SCHEMA.empty_table(), 1
    table = pa.concat_tables([SCHEMA.empty_table(), *(group for group in groups if group is not None)])
    sound = table.filter(pa.array([not _problem(image) for image in SyntheticImage.rows(table)], pa.bool_()))
    return sound, total - sound.num_rows


def _group(file: pq.ParquetFile, index: int) -> pa.Table | None:
    try:
        return file.read_row_group(index, use_threads=False).cast(SCHEMA)
    except (pa.ArrowException, OSError):
        return None
