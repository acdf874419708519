"""From stored images to a training set in memory, or in a mapped file where memory would not do."""

import io
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fgl_flower.errors import StoreError

if TYPE_CHECKING:
    from fgl_flower.learning.images import Images
    from fgl_flower.synthesis.plan import SynthesisPlan
    from fgl_flower.synthesis.store import SyntheticStore

MAPPED_BYTES = 256 * 2**20  # above this, pixels live in a file that the kernel pages in and out


def decode_plan(
    store: "SyntheticStore", plan: "SynthesisPlan", size: int, classes: Sequence[str], domains: Sequence[str] = ()
) -> "Images":
    """Return a plan's images, in plan order.

    Parameters
    ----------
    store : SyntheticStore
        Holds all of them.
    plan : SynthesisPlan
    size : int
        Side in pixels; images of another size are scaled (antialiased).
    classes, domains : sequence of str
        Names in the order of their indices; a domain that is not listed becomes -1.

    Returns
    -------
    Images
        From `MAPPED_BYTES` on backed by an unlinked file in the store's folder, or in the system's folder for temporary
        files where the store's is full or read-only: memory stays flat while training reads it, and the file is
        gone with the process. Held in memory if neither takes it.

    Raises
    ------
    StoreError
        If images are missing or a label is not among `classes`.
    """
    import torch

    from fgl_flower.learning.images import Images

    label_index = {name: i for i, name in enumerate(classes)}
    domain_index = {name: i for i, name in enumerate(domains)}
    if unknown := {label for label, *_ in plan.rows()} - label_index.keys():
        raise StoreError(f"the plan has labels that the classifier does not know: {', '.join(sorted(unknown))}")
    pixels = _block(store, (len(plan), size, size, 3))
    places: dict[str, list[int]] = defaultdict(list)
    labels, image_domains = np.empty(len(plan), dtype=np.int64), np.empty(len(plan), dtype=np.int64)
    for position, image in enumerate(plan.images):
        places[image.key].append(position)
        labels[position], image_domains[position] = label_index[image.label], domain_index.get(image.domain, -1)
    for kept in store.read(places):
        pixels[places[kept.key]] = _scaled(kept.png, size)
    return Images(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),  # (N, 3, S, S), channels last in memory
        labels=torch.from_numpy(labels),
        domains=torch.from_numpy(image_domains),
    )


def _block(store: "SyntheticStore", shape: tuple[int, int, int, int]) -> np.ndarray:
    if int(np.prod(shape)) <= MAPPED_BYTES:
        return np.empty(shape, dtype=np.uint8)
    for folder in (store.path, None):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:  # the mapping outlives the handle
                if hasattr(os, "posix_fallocate"):  # a disk that fills up later would kill the process, not tell it
                    os.posix_fallocate(file.fileno(), 0, int(np.prod(shape)))
                return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
        except OSError:
            continue
    return np.empty(shape, dtype=np.uint8)


def _scaled(png: bytes, size: int) -> np.ndarray:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC))
