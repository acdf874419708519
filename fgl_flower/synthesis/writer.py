"""Encode drawn images in threads and commit them to a store while the next ones are drawn."""

import io
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from PIL import Image

from fgl_flower.errors import StoreError
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.quality import Drawn, check_finite
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.shards import SyntheticImage, pixel_hash
from fgl_flower.synthesis.store import SyntheticStore

COMMIT_SECONDS = 2.0  # what a killed run loses at most, besides the batches being drawn
COMMIT_IMAGES = 1024
COMMIT_BYTES = 64 * 2**20
IMAGES_A_TASK = 8
TASKS_WAITING = 32
THREADS = min(8, os.cpu_count() or 1)


class StoreWriter:
    """Takes drawn batches and commits them every few seconds; what was encoded is committed even if drawing fails.

    Parameters
    ----------
    store : SyntheticStore
    settings : SamplingSettings
        Of the images that are put.
    """

    def __init__(self, store: SyntheticStore, settings: SamplingSettings) -> None:
        self.store = store
        self.settings = settings
        self.committed = 0
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="encode")
        self._encoding: deque[Future[list[SyntheticImage]]] = deque()
        self._ready: list[SyntheticImage] = []
        self._since = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or not issubclass(kind, StoreError):
                self._finish(failed=kind is not None)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, batch: Sequence[PlannedImage], drawn: Drawn) -> None:
        """Take a drawn batch, on any device, and return before it is encoded.

        Raises
        ------
        StoreError
            If an earlier batch cannot be committed.
        RunError
            If images of an earlier batch are not finite.
        """
        for start in range(0, len(batch), IMAGES_A_TASK):
            part = slice(start, start + IMAGES_A_TASK)
            self._encoding.append(self._pool.submit(_encode_part, batch, drawn, part, self.settings))
        self._collect(leave=TASKS_WAITING)
        self.put_encoded([])

    def put_encoded(self, images: Sequence[SyntheticImage]) -> None:
        """Take images that are encoded already, and commit if it is time to."""
        self._ready += images
        enough = len(self._ready) >= COMMIT_IMAGES or sum(len(i.png) for i in self._ready) >= COMMIT_BYTES
        if enough or time.monotonic() - self._since > COMMIT_SECONDS:
            self._commit()

    def _collect(self, leave: int) -> None:
        while self._encoding and (self._encoding[0].done() or len(self._encoding) > leave):
            self._ready += self._encoding.popleft().result()

    def _finish(self, failed: bool) -> None:
        """Commit what can be encoded, and only then raise what could not, unless something `failed` before."""
        first: Exception | None = None
        while self._encoding:
            try:
                self._ready += self._encoding.popleft().result()
            except Exception as error:
                first = first or error
        self._commit()
        if first and not failed:
            raise first

    def _commit(self) -> None:
        if self._ready:
            self.committed += self.store.add(self._ready)
            self._ready = []
        self._since = time.monotonic()


def encode_drawn(batch: Sequence[PlannedImage], drawn: Drawn, settings: SamplingSettings) -> list[SyntheticImage]:
    """Return the records of a drawn batch, but for images that are blanked; waits for the device.

    Raises
    ------
    RunError
        If any of its images is not finite.
    """
    return _encode_part(batch, drawn, slice(None), settings)


def _encode_part(
    batch: Sequence[PlannedImage], drawn: Drawn, part: slice, settings: SamplingSettings
) -> list[SyntheticImage]:
    check_finite(drawn.finite, settings)  # of the whole batch: nothing of it is stored otherwise
    chosen = [i for i in range(len(batch))[part] if i not in drawn.blanked]
    return encode_batch([batch[i] for i in chosen], drawn.pixels[chosen], settings.to_json())


def encode_batch(batch: Sequence[PlannedImage], pixels: torch.Tensor, settings: str) -> list[SyntheticImage]:
    """Return the records of images, (N, 3, S, S) uint8; waits for the device."""
    arrays = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # (N, S, S, 3)
    return [_encode(image, array, settings) for image, array in zip(batch, arrays, strict=True)]


def _encode(image: PlannedImage, pixels: np.ndarray, settings: str) -> SyntheticImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return SyntheticImage(
        key=image.key,
        png=buffer.getvalue(),
        prompt=image.prompt,
        prompt_digest=image.prompt_digest,
        label=image.label,
        domain=image.domain,
        seed=image.seed,
        settings=settings,
        pixels_sha256=pixel_hash(pixels),
    )
