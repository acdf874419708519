"""Fill a store with the images of a plan: the interface, and the engine that does it in this process."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image

from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.plan import PlannedImage, SamplingSettings, SynthesisPlan
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.store import SyntheticImage, SyntheticStore, pixel_digest

if TYPE_CHECKING:
    from fgl_flower.config import RunConfig

Progress = Callable[[int, int], None]  # (images of the plan in the store, images of the plan)

COMMIT_SECONDS = 2.0
COMMIT_IMAGES = 1024
COMMIT_BYTES = 64 * 2**20
PROMPTS_IN_MEMORY = 2048
TILE = 16


@dataclass(frozen=True)
class SynthesisReport:
    """What one call of `fill` did.

    Attributes
    ----------
    planned, reused, drawn : int
        Images of the plan, those found in the store, those drawn now.
    seconds : float
        Wall-clock time of the call, loading the generator included.
    drawing_seconds : float
        Of these, from the first batch to the last commit.
    images_per_second : dict of str to float
        Of each worker.
    """

    planned: int
    reused: int
    drawn: int
    seconds: float
    drawing_seconds: float
    images_per_second: dict[str, float] = field(default_factory=dict)


class SynthesisEngine(Protocol):
    """Draws what a store lacks of a plan. A caller cannot tell one engine from another by its images."""

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        """Draw the missing images of a plan and return when all are in the store."""
        ...


def engine_for(config: "RunConfig") -> SynthesisEngine:
    """Return the engine a run configuration asks for."""
    options = {
        "model_id": config.generator,
        "revision": config.generator_revision,
        "device": config.device,
        "batch_size": config.synthesis_batch_size,
    }
    if config.synthesis_engine == "ray":
        from fgl_flower.synthesis.ray_engine import RayEngine

        return RayEngine(**options, actors=config.synthesis_actors)
    return LocalEngine(**options)


class LocalEngine:
    """Draws in this process, on one device.

    Parameters
    ----------
    model_id, revision, device : str
        As for `Generator.load`.
    batch_size : int
        Images drawn at once; 0: chosen by the engine.
    generator : Generator, optional
        One that is already loaded.
    """

    def __init__(
        self,
        model_id: str = "",
        revision: str = "",
        device: str = "auto",
        batch_size: int = 0,
        generator: Generator | None = None,
    ) -> None:
        self.model_id = model_id
        self.revision = revision
        self.device = device
        self.batch_size = batch_size
        self.generator = generator

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        """Draw the missing images of a plan and return when all are in the store.

        Raises
        ------
        ModelError
            If the generator cannot be loaded.
        StoreError
            If the store cannot be written; what was committed before stays.
        """
        began = time.perf_counter()
        missing = plan.select(store.missing(plan.keys))
        reused = len(plan) - len(missing)
        if progress:
            progress(reused, len(plan))
        if not missing.images:
            return SynthesisReport(len(plan), reused, 0, time.perf_counter() - began, 0.0)
        if self.generator is None:
            self.generator = Generator.load(self.model_id, self.revision, self.device, plan.settings.precision)
        drawing = time.perf_counter()
        sampler = Sampler(self.generator, plan.settings, self.batch_size or TILE)
        with StoreWriter(store, plan.settings) as writer:
            for window in windows(missing.images):
                sampler.encode(list(dict.fromkeys(i.prompt for i in window)), plan.embeddings)
                for batch in batches(window, sampler.batch_size):
                    writer.put(batch, sampler.draw(batch))
                    if progress:
                        progress(reused + writer.committed, len(plan))
        if progress:
            progress(len(plan), len(plan))
        ended = time.perf_counter()
        rate = len(missing) / max(ended - drawing, 1e-9)
        return SynthesisReport(
            len(plan), reused, len(missing), ended - began, ended - drawing, {str(self.generator.device): rate}
        )


def windows(images: Sequence[PlannedImage]) -> Iterator[list[PlannedImage]]:
    """Yield the images, sorted by prompt, in runs of at most `PROMPTS_IN_MEMORY` prompts."""
    window: list[PlannedImage] = []
    prompts: set[str] = set()
    for image in sorted(images, key=lambda i: i.prompt):
        if image.prompt not in prompts and len(prompts) == PROMPTS_IN_MEMORY:
            yield window
            window, prompts = [], set()
        window.append(image)
        prompts.add(image.prompt)
    if window:
        yield window


def batches(images: Sequence[PlannedImage], size: int) -> Iterator[list[PlannedImage]]:
    """Yield the images `size` at a time; the last batch may be shorter."""
    for start in range(0, len(images), size):
        yield list(images[start : start + size])


class StoreWriter:
    """Encodes drawn images in threads and commits them to a store every few seconds, while the next batch is drawn.

    Parameters
    ----------
    store : SyntheticStore
    settings : SamplingSettings
        Of the images that are put.
    threads : int
        Encoder threads.
    """

    def __init__(self, store: SyntheticStore, settings: SamplingSettings, threads: int = 2) -> None:
        self.store = store
        self.settings = settings.to_json()
        self.committed = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self._pending: deque[Future[list[SyntheticImage]]] = deque()
        self._lock = threading.Lock()
        self._ready: list[SyntheticImage] = []
        self._since = time.monotonic()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                self._collect(wait=True)
                self._commit()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, batch: Sequence[PlannedImage], pixels: torch.Tensor) -> None:
        """Take a drawn batch, (N, 3, S, S) uint8 on any device, and return before it is encoded."""
        self._pending.append(self._pool.submit(self._encode, batch, pixels))
        self._collect(wait=len(self._pending) > 4)
        size = sum(len(image.png) for image in self._ready)
        if len(self._ready) >= COMMIT_IMAGES or size >= COMMIT_BYTES or time.monotonic() - self._since > COMMIT_SECONDS:
            self._commit()

    def _encode(self, batch: Sequence[PlannedImage], pixels: torch.Tensor) -> list[SyntheticImage]:
        arrays = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # (N, S, S, 3)
        return [encode_image(image, array, self.settings) for image, array in zip(batch, arrays, strict=True)]

    def _collect(self, wait: bool) -> None:
        while self._pending and (wait or self._pending[0].done()):
            self._ready += self._pending.popleft().result()

    def _commit(self) -> None:
        if self._ready:
            self.store.add(self._ready)
            self.committed += len(self._ready)
            self._ready = []
        self._since = time.monotonic()


def encode_image(image: PlannedImage, pixels: np.ndarray, settings: str) -> SyntheticImage:
    """Return the record of a drawn image, (S, S, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return SyntheticImage(
        image.key,
        buffer.getvalue(),
        image.prompt,
        image.label,
        image.domain,
        image.seed,
        settings,
        pixel_digest(pixels),
    )
