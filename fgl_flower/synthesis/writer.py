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
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.shards import SyntheticImage, pixel_digest
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
        self.settings = settings.to_json()
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
                self._collect(leave=0)
                self._commit()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, batch: Sequence[PlannedImage], pixels: torch.Tensor) -> None:
        """Take a drawn batch, (N, 3, S, S) uint8 on any device, and return before it is encoded.

        Raises
        ------
        StoreError
            If an earlier batch cannot be committed.
        """
        for start in range(0, len(batch), IMAGES_A_TASK):
            part = slice(start, start + IMAGES_A_TASK)
            self._encoding.append(self._pool.submit(encode_batch, batch[part], pixels[part], self.settings))
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

    def _commit(self) -> None:
        if self._ready:
            self.committed += self.store.add(self._ready)
            self._ready = []
        self._since = time.monotonic()


def encode_batch(batch: Sequence[PlannedImage], pixels: torch.Tensor, settings: str) -> list[SyntheticImage]:
    """Return the records of drawn images, (N, 3, S, S) uint8; waits for the device."""
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
        pixels_sha256=pixel_digest(pixels),
    )
