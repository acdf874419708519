"""Captions of a client's images: made once a process, scrubbed before anything else sees them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clients.data import Client
from clients.kept import kept_captions
from clients.scrubber import scrub
from fgl_flower.data.decoding import open_image

if TYPE_CHECKING:
    import datasets

    from fgl_flower.foundation.own import Describes

_CAPTIONS: dict[tuple[Any, ...], tuple[str, ...]] = {}
_REMEMBERED = 4096  # clients: a simulation has many in one process
_BATCH = 64  # images captioned at once, and in memory


def captions(client: Client, dataset: "datasets.Dataset") -> Sequence[str]:
    """Return a scrubbed caption for each image of `dataset`, the client's own that a level has chosen."""
    import datasets  # here: see fgl_flower.data.rows

    config = client.config
    model = (config.captioner, config.captioner_revision)
    key = (client.source, client.division, client.partition_id, dataset._fingerprint, *model)  # a level may choose anew
    if key not in _CAPTIONS:
        if len(_CAPTIONS) >= _REMEMBERED:
            _CAPTIONS.clear()
        known = (*client.source.classes, *client.source.domains)
        raw = dataset.cast_column("image", datasets.Image(decode=False))["image"]

        def describe(records: Sequence[Mapping[str, Any]]) -> list[str]:
            captioner, texts = _captioner(*model, config.device), list[str]()
            for start in range(0, len(records), _BATCH):
                texts += captioner.describe([open_image(record) for record in records[start : start + _BATCH]])
            return texts

        result = kept_captions(raw, f"{model} {_revision(*model)}", describe) if client.keeps else describe(raw)
        _CAPTIONS[key] = tuple(scrub(caption, known) for caption in result)
    return _CAPTIONS[key]


@lru_cache(maxsize=1)
def _captioner(model_id: str, revision: str, device: str) -> "Describes":
    from fgl_flower.foundation.captioner import (
        load_captioner,  # torch and transformers: only where captions are asked for
    )

    return load_captioner(model_id, revision, device)


def _revision(model_id: str, revision: str) -> str:
    from fgl_flower.foundation.captioner import captioner_revision

    return captioner_revision(model_id, revision)
