"""Features of a client's images, by which they are compared with candidates: made once a process, kept on a node."""

import hashlib
import json
from typing import Any

import numpy as np

from clients.data import Client
from fgl_flower.cache import cached_array
from fgl_flower.config import RunConfig
from fgl_flower.data.decoded import stamp
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.image_features import CAPTIONS, caption_words, embedded, encoder_revision

_FEATURES: dict[tuple[Any, ...], np.ndarray] = {}
_REMEMBERED = 4096  # clients: a simulation has many in one process


def features(client: Client, held: Holdings) -> np.ndarray:
    """Return (images, width) float32 of all of a client's images that can be read; an image's depend on no other."""
    config = client.config
    if config.image_encoder == CAPTIONS:
        return caption_words(held.captions() if len(held) else ())  # captions are remembered by themselves
    key = (client.source, client.division, client.partition_id, config.image_encoder)
    if key not in _FEATURES:
        if len(_FEATURES) >= _REMEMBERED:
            _FEATURES.clear()
        _FEATURES[key] = _kept(config, held) if client.keeps else _embedded(config, held)
    return _FEATURES[key]


def _embedded(config: RunConfig, held: Holdings) -> np.ndarray:
    return embedded(held.images(), config.image_encoder, config.device, config.captioner_batch)


def _kept(config: RunConfig, held: Holdings) -> np.ndarray:
    images = [stamp(record) for record in held.rows.records()]
    depends = json.dumps([config.image_encoder, encoder_revision(config.image_encoder), images])
    key = hashlib.blake2b(depends.encode(), digest_size=16).hexdigest()
    return np.asarray(cached_array("image-features", key, lambda: _embedded(config, held)))
