"""Captions of a client's images: made once a process, scrubbed before anything else sees them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clients.data import Client
from clients.kept import kept_captions
from clients.scrubber import scrub
from fgl_flower.config import CaptionerConfig
from fgl_flower.data.decoding import open_image

if TYPE_CHECKING:
    import datasets

    from fgl_flower.foundation.own import Describes

_CAPTIONS: dict[tuple[Any, ...], tuple[str, ...]] = {}
_REMEMBERED = 4096  # clients: a simulation has many in one process


def captions(client: Client, dataset: "datasets.Dataset") -> Sequence[str]:
    """Return a scrubbed caption for each image of `dataset`, the client's own that a level has chosen."""
    import datasets  # here: see fgl_flower.data.rows

    how, device = client.config.part(CaptionerConfig), client.config.device
    key = (client.source, client.division, client.partition_id, dataset._fingerprint, how)  # a level may choose anew
    if key not in _CAPTIONS:
        if len(_CAPTIONS) >= _REMEMBERED:
            _CAPTIONS.clear()
        known = (*client.source.classes, *client.source.domains)
        raw = dataset.cast_column("image", datasets.Image(decode=False))["image"]

        def describe(records: Sequence[Mapping[str, Any]]) -> list[str]:
            captioner, size, texts = _captioner(how, device), how.captioner_batch, list[str]()
            for start in range(0, len(records), size):
                texts += captioner.describe([open_image(record) for record in records[start : start + size]])
            return texts

        result = kept_captions(raw, _maker(how), describe) if client.keeps else describe(raw)
        _CAPTIONS[key] = tuple(scrub(caption, known) for caption in result)
    return _CAPTIONS[key]


@lru_cache(maxsize=1)
def _captioner(how: CaptionerConfig, device: str) -> "Describes":
    from fgl_flower.foundation.captioner import (
        load_captioner,  # torch and transformers: only where captions are asked for
    )

    return load_captioner(
        how.captioner,
        how.captioner_revision,
        device,
        instruction=how.captioner_instruction,
        beams=how.captioner_beams,
        precision=how.captioner_precision,
    )


def _maker(how: CaptionerConfig) -> str:
    """Return what captions kept on disk are kept by."""
    from fgl_flower.foundation.captioner import captioner_revision

    revision = captioner_revision(how.captioner, how.captioner_revision)
    return f"{how.model_dump(mode='json', exclude={'captioner_batch'})} {revision}"
