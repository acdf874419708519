"""What a node keeps on its disk between messages: each is a new process, and captions and tokens take minutes to make.

It lies in the cache folder (`fgl_flower.cache`), readable by its owner alone; captions lie there as the captioner wrote
them, and are scrubbed when they are read. What is missing, damaged or cannot be written is made again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fgl_flower.cache import cache_dir, cached_array
from fgl_flower.data.decoded import stamp
from fgl_flower.files import read_json, write_json
from fgl_flower.revision import git_state

Record = Mapping[str, Any]
"""An image as it is stored: {"bytes", "path"}."""


def kept_captions(
    records: Sequence[Record], model: str, describe: Callable[[Sequence[Record]], list[str]]
) -> list[str]:
    """Return a caption of each image, made now where none is kept.

    Parameters
    ----------
    records : sequence of Record
    model : str
        The captioner and its revision.
    describe : callable
        Captions images.
    """
    path = cache_dir() / "captions" / f"{_hash(model)}.json"
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = read_json(path, {})
    stamps = [stamp(record) for record in records]
    missing = [i for i, name in enumerate(stamps) if name not in known]
    if missing:
        texts = describe([records[i] for i in missing])
        known |= {stamps[i]: text for i, text in zip(missing, texts, strict=True)}
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(path, known)
    return [known[name] for name in stamps]


def kept_text(kind: str, records: Sequence[Record], depends: Sequence[Any], make: Callable[[], str]) -> str:
    """Return a text that is made of these images and of what else it depends on (JSON), from the disk or made now."""
    revision = git_state()
    if revision["revision"] is None or revision["dirty"]:
        return make()  # another code may be called the same
    key = _hash(json.dumps([revision, [stamp(record) for record in records], *depends]))
    return cached_array(kind, key, lambda: np.frombuffer(make().encode(), dtype=np.uint8)).tobytes().decode()


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
