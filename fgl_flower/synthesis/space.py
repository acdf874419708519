"""Whether a disk can hold what is planned."""

import shutil
from pathlib import Path

from fgl_flower.errors import RunError
from fgl_flower.report.formatting import human_bytes
from fgl_flower.synthesis.decoding import MAPPED_BYTES
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore

PNG_BYTES_PER_PIXEL = 1.0  # cautiously: drawn images take 1 to 2.5, of 3 uncompressed


def check_space(planned: int, settings: SamplingSettings, size: int, store: SyntheticStore) -> None:
    """Refuse a plan that its store's disk cannot hold even if images turn out small.

    Parameters
    ----------
    planned : int
        Images; those that the store holds, of whatever settings, count as drawn.
    settings : SamplingSettings
    size : int
        Side of the learner's images, in pixels: a large training set is mapped from the same disk.
    store : SyntheticStore

    Raises
    ------
    RunError
        With what is needed and what is free.
    """
    needed, free = needed_bytes(planned, settings, size, store), free_bytes(store.path)
    if free is not None and needed > free:
        raise RunError(
            f"{planned:,} images need about {human_bytes(needed)} on the disk of the store {store.path}, which has "
            f"{human_bytes(free)} free: lower images-per-class, or set store-dir to a larger disk"
        )


def needed_bytes(planned: int, settings: SamplingSettings, size: int, store: SyntheticStore) -> int:
    """Return a low estimate of what drawing and training on so many images takes of the disk."""
    missing = max(0, planned - len(store))
    drawn = int(missing * settings.stored_size**2 * PNG_BYTES_PER_PIXEL)
    mapped = 3 * planned * size**2
    return drawn + (mapped if mapped > MAPPED_BYTES and missing else 0)


def free_bytes(folder: Path) -> int | None:
    """Return what is free on the disk of a folder, which need not exist yet; None where nobody can tell."""
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), None)
    try:
        return shutil.disk_usage(there).free if there else None
    except OSError:
        return None
