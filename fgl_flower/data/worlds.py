"""The built-in world as data sets, drawn once a machine and kept as parquet files in the user's cache folder."""

import hashlib
import io
import logging
import os
import tempfile
from contextlib import suppress
from functools import cache
from inspect import getfile
from pathlib import Path
from typing import cast

import datasets
import numpy as np
import pyarrow.parquet as pq
from datasets.table import InMemoryTable
from PIL import Image
from platformdirs import user_cache_path

from fgl_flower.data import codes, shapes, world
from fgl_flower.data.folders import features
from fgl_flower.files import write_bytes

__all__ = ["KINDS", "cache_dir", "load_split"]

KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # name: classes, domains
    "world": (world.CLASSES, world.STYLES),
    "world-held-out-classes": ((*world.CLASSES, *world.HELD_OUT_CLASSES), world.STYLES),
    "world-held-out-style": (world.CLASSES, (*world.STYLES, world.HELD_OUT_STYLE)),
    "world-codes": (tuple(codes.CODES), codes.STYLES),
}


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


def load_split(kind: str, split: str, count: int, *, seed: int = 0) -> datasets.Dataset:
    """Return `count` images of a split of the world, with columns image, label, domain and caption.

    Drawing takes some milliseconds an image, so the first call writes a file and later ones read it. The file's name
    holds a hash of all source that draws: another version of the world never reads it.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    split : {"public", "private", "validation", "test"}
        See `fgl_flower.data.world.draw_split`.
    count : int
        Number of images.
    seed : int
        Seed of the world.
    """
    source = b"".join(Path(getfile(module)).read_bytes() for module in (shapes, world, codes))
    digest = hashlib.sha256(source + f"{kind}|{split}|{count}|{seed}".encode()).hexdigest()[:16]
    path = cache_dir() / f"{kind}-{split}-{count}-{digest}.parquet"
    try:
        return datasets.Dataset(InMemoryTable(pq.read_table(path)))
    except (OSError, ValueError):  # absent or damaged: draw it
        drawn = _draw(kind, split, count, seed)
        _write(drawn, path)
        return drawn


def _draw(kind: str, split: str, count: int, seed: int) -> datasets.Dataset:
    classes, styles = KINDS[kind]
    name = cast(world.Split, split)
    if kind == "world-codes":
        drawings = codes.draw_split(name, count, seed=seed)
    else:
        drawings = world.draw_split(name, count, seed=seed, classes=classes, styles=styles)
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": _png(d.image), "path": None} for d in drawings],
            "label": [classes.index(d.label) for d in drawings],
            "domain": [styles.index(d.style) for d in drawings],
            "caption": [d.caption for d in drawings],
        },
        features=features(classes, styles),
    )


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _write(dataset: datasets.Dataset, path: Path) -> None:
    """Write the file as a whole or not at all; a cache that cannot be written costs the time of drawing again."""
    content = io.BytesIO()
    pq.write_table(dataset.data.table, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue())
    except OSError as error:
        _warn(f"the cache {path.parent} cannot be written ({error.strerror}): images are drawn anew in each run")


@cache
def _warn(sentence: str) -> None:
    logging.getLogger(__name__).warning(sentence)
