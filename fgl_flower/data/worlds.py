"""The built-in world as data sets, drawn once a machine and kept as parquet files in the user's cache folder."""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from inspect import getfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
from datasets.table import InMemoryTable
from PIL import Image

from fgl_flower.cache import cache_dir, caches_are_written
from fgl_flower.data import codes, jargon, shapes, shifted, world
from fgl_flower.data.folders import features
from fgl_flower.files import write_bytes

__all__ = ["KINDS", "load_split"]


@dataclass(frozen=True)
class World:
    """A data set that is drawn by code.

    Attributes
    ----------
    classes, styles : sequences of str
    draw_split : callable
        (split, count, seed=) -> drawings; see `fgl_flower.data.world.draw_split`.
    """

    classes: Sequence[str]
    styles: Sequence[str]
    draw_split: Callable[..., list[world.Drawing]]


def _wider(classes: Sequence[str], styles: Sequence[str]) -> World:
    return World(classes, styles, partial(world.draw_split, classes=classes, styles=styles))


KINDS: dict[str, World] = {
    "world": _wider(world.CLASSES, world.STYLES),
    "world-held-out-classes": _wider((*world.CLASSES, *world.HELD_OUT_CLASSES), world.STYLES),
    "world-held-out-style": _wider(world.CLASSES, (*world.STYLES, world.HELD_OUT_STYLE)),
    "world-codes": World(tuple(codes.CODES), codes.STYLES, codes.draw_split),
    "world-jargon": World(jargon.CLASSES, jargon.STYLES, jargon.draw_split),
    "world-shifted": World(shifted.CLASSES, shifted.STYLES, shifted.draw_split),
}


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
    source = b"".join(Path(getfile(module)).read_bytes() for module in (shapes, world, codes, jargon, shifted))
    digest = hashlib.sha256(source + f"{kind}|{split}|{count}|{seed}".encode()).hexdigest()[:16]
    path = cache_dir() / f"{kind}-{split}-{count}-{digest}.parquet"
    try:
        return datasets.Dataset(InMemoryTable(pq.read_table(path)))
    except (OSError, ValueError):  # absent or damaged: draw it
        drawn = _draw(kind, split, count, seed)
        if caches_are_written():
            _write(drawn, path)
        return drawn


def _draw(kind: str, split: str, count: int, seed: int) -> datasets.Dataset:
    drawn = KINDS[kind]
    classes, styles = list(drawn.classes), list(drawn.styles)
    drawings = drawn.draw_split(split, count, seed=seed)
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
