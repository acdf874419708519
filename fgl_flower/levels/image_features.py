"""What images are compared by, the same on server and clients: the words of their captions, or an image encoder.

What a captioner sees in an image is by far what it says best: on public images of the built-in world the words of the
shipped captioner's captions find the right one of sixty candidates for 95 %, its vision tower for 13 % (`python -m
experiments.shows.candidates_found`).
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fgl_flower.foundation.hub import hub_folder
from fgl_flower.foundation.weights_hash import weights_hash

if TYPE_CHECKING:
    from PIL import Image

    from fgl_flower.foundation.image_encoder import ImageEncoder

__all__ = ["CAPTIONS", "caption_words", "embedded", "encoder_folder", "encoder_revision"]

CAPTIONS = "captions"  # of the key image-encoder; anything else is a hub id or a folder
WIDTH = 512  # places that words are hashed to
_PATTERNS = ("*.json", "*.safetensors")


def caption_words(captions: Sequence[str]) -> np.ndarray:
    """Return (captions, WIDTH) float32, 1 where a caption holds a word that is hashed (CRC-32) to the place, else 0."""
    result = np.zeros((len(captions), WIDTH), dtype=np.float32)
    for row, caption in zip(result, captions, strict=True):
        for word in re.findall(r"\w+", caption.lower()):
            row[zlib.crc32(word.encode()) % WIDTH] = 1
    return result


def embedded(images: Iterator["Image.Image"], model_id: str, device: str, batch_size: int) -> np.ndarray:
    """Return what an image encoder sees in RGB images, (images, width) float32 of length 1 each; (0, 0) of none."""
    encoder, blocks = _encoder(model_id, device), []
    while batch := list(islice(images, batch_size)):
        blocks.append(encoder.embed(batch))
    if not blocks:
        return np.empty((0, 0), dtype=np.float32)
    features = np.concatenate(blocks)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)  # say nothing of what an image shows
    return (features / np.maximum(lengths, 1e-12)).astype(np.float32)


def encoder_folder(model_id: str, *, download: bool = True) -> Path:
    """Return where an image encoder lies; a hub id that is not cached is downloaded.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    return hub_folder("image-encoder", model_id, "", _PATTERNS, download=download)


def encoder_revision(model_id: str) -> str:
    """Return the commit of an image encoder of the hub, or a hash of a folder's files.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    folder = encoder_folder(model_id)
    return weights_hash((folder,)) if Path(model_id).expanduser().is_dir() else folder.name


@lru_cache(maxsize=1)
def _encoder(model_id: str, device: str) -> "ImageEncoder":
    from fgl_flower.foundation.image_encoder import ImageEncoder  # torch and transformers

    return ImageEncoder.load(model_id, device)
