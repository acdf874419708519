"""Fill a store with the images of a plan: the interface, and the engine that does it in this process."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Protocol

from fgl_flower.foundation.generator import Generator
from fgl_flower.foundation.memory import RESIDENT, Memory
from fgl_flower.foundation.origin import Origin
from fgl_flower.interrupts import received
from fgl_flower.synthesis.plan import PlannedImage, SynthesisPlan
from fgl_flower.synthesis.prompt_cache import PROMPTS_IN_MEMORY, PromptCache
from fgl_flower.synthesis.quality import Drawn
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.tuning import (
    compile_modules,
    one_thread_each,
    prepare,
    replicas_for,
    rows_for,
    worth_compiling,
)
from fgl_flower.synthesis.writer import StoreWriter

Progress = Callable[[int, int], None]  # (images of the plan that are drawn, images of the plan)


@dataclass(frozen=True)
class SynthesisReport:
    """What one call of `fill` did.

    Attributes
    ----------
    planned, reused, drawn : int
        Images of the plan; those that were in the store; those that this call added. Other processes may add the rest.
    seconds : float
        Wall-clock time of the call, loading the generator included.
    drawing_seconds : float
        Of these, from the first batch to the last commit.
    images_per_second : dict of str to float
        By worker, over the drawing time.
    redrawn : int
        Images that were drawn again with another seed, because the generator's safety checker blanked them.
    blanked : tuple of str
        Keys of those that it still blanked after `ATTEMPTS`; they are not in the store.
    """

    planned: int
    reused: int
    drawn: int
    seconds: float
    drawing_seconds: float = 0.0
    images_per_second: dict[str, float] = field(default_factory=dict)
    redrawn: int = 0
    blanked: tuple[str, ...] = ()


class SynthesisEngine(Protocol):
    """Draws what a store lacks of a plan. A caller cannot tell one engine from another by its images."""

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        """Draw the missing images of a plan; all are in the store then but those that the report calls blanked."""
        ...


class LocalEngine:
    """Draws in this process: on one accelerator, or on all cores of the CPU.

    Parameters
    ----------
    model, revision, device
        As for `Generator.load`.
    batch_size : int
        Images of a batch; 0: chosen by the engine. On a CPU a batch is drawn in calls of a fixed shape.
    memory : Memory
        How to save memory of an accelerator.
    generator : Generator, optional
        One that is already loaded.
    compiled : bool, optional
        Whether to compile denoiser and decoder; by default where the run is long enough to pay for it.
    """

    def __init__(
        self,
        model: str | Origin = "",
        revision: str = "",
        device: str = "auto",
        batch_size: int = 0,
        *,
        memory: Memory = RESIDENT,
        generator: Generator | None = None,
        compiled: bool | None = None,
    ) -> None:
        self.origin = Origin.of(model, revision)
        self.device = device
        self.batch_size = batch_size
        self.memory = memory
        self.generator = generator
        self._given = generator is not None
        self.compiled = compiled
        self.rows: dict[tuple[int, bool], int] = {}  # by (size, guided): probing again would compile again

    def release(self) -> None:
        """Let go of a generator that this engine loaded; it loads it again when it is asked for more."""
        if not self._given:
            self.generator = None

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        """Draw the missing images of a plan and return when all are in the store.

        Raises
        ------
        ModelError
            If the generator cannot be loaded.
        StoreError
            If the store cannot be written; what was committed before stays.
        RunError
            If images are not finite, likewise.
        """
        began = time.perf_counter()
        missing = plan.select(store.missing(plan.keys))
        reused = len(plan) - len(missing)
        report_progress = progress_reporter(progress, plan, reused)
        if not missing.images:
            return SynthesisReport(len(plan), reused, 0, time.perf_counter() - began)
        if self.generator is None:
            self.generator = Generator.load(
                self.origin,
                device=self.device,
                precision=plan.settings.precision,
                safety_checker=plan.settings.safety_checker,
                memory=replace(self.memory, vae_tiling=plan.settings.vae_tiling),
                speed=plan.settings.speed,
            )
        prepare(self.generator)
        prompts = PromptCache(self.generator, plan.settings)
        probe = missing.images[0]
        drawing, drawn, redrawn = time.perf_counter(), 0, 0
        blanked: list[str] = []
        with one_thread_each(self.generator), StoreWriter(store, plan.settings) as writer:
            prompts.encode([probe.prompt], plan.embeddings)
            shape = (plan.settings.size, plan.settings.guided)
            rows = self.rows.get(shape) or rows_for(prompts, probe, self.batch_size)
            self.rows[shape] = rows
            samplers = [Sampler(prompts, rows) for _ in range(replicas_for(self.generator))]
            compiled = worth_compiling(samplers[0], probe, len(missing)) if self.compiled is None else self.compiled
            if compiled and self.generator.device.type != "cpu":  # there an image has the same bits on every machine
                compile_modules(self.generator)
            for window in windows(missing.images):
                prompts.encode([i.prompt for i in window], plan.embeddings)
                for batch, result in side_by_side(samplers, batches(window, self.batch_size or rows, store)):
                    writer.put(batch, result)
                    redrawn += result.redrawn
                    blanked += [batch[i].key for i in result.blanked]
                    report_progress(drawn := drawn + len(batch))
            self.rows[shape] = min(sampler.rows for sampler in samplers)  # fewer, if the memory did not do
        report_progress(len(missing))
        ended = time.perf_counter()
        rate = writer.committed / (ended - drawing)
        return SynthesisReport(
            len(plan),
            reused,
            writer.committed,
            ended - began,
            ended - drawing,
            {str(self.generator.device): rate},
            redrawn,
            tuple(blanked),
        )


def windows(images: Sequence[PlannedImage]) -> Iterator[list[PlannedImage]]:
    """Yield the images in runs that hold at most as many prompts as are kept encoded (the negative one besides)."""
    window: list[PlannedImage] = []
    prompts: set[str] = set()
    for image in sorted(images, key=lambda i: i.prompt):
        if image.prompt not in prompts and len(prompts) == PROMPTS_IN_MEMORY - 1:
            yield window
            window, prompts = [], set()
        window.append(image)
        prompts.add(image.prompt)
    if window:
        yield window


def batches(images: Sequence[PlannedImage], size: int, store: SyntheticStore) -> Iterator[list[PlannedImage]]:
    """Yield what the store lacks of the images, `size` at a time.

    Every process goes through them in another order and looks into the store before each batch, so processes that fill
    one plan at the same time share the work; and what is ready early is an even sample of the plan.
    """
    order = list(images)
    random.SystemRandom().shuffle(order)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        lacking = set(store.missing(i.key for i in batch))
        if lacking:
            yield [i for i in batch if i.key in lacking]


def side_by_side(
    samplers: Sequence[Sampler], todo: Iterable[list[PlannedImage]]
) -> Iterator[tuple[list[PlannedImage], Drawn]]:
    """Draw batches on all samplers at once; a second batch waits for each, so that none is ever idle."""
    idle: SimpleQueue[Sampler] = SimpleQueue()
    for sampler in samplers:
        idle.put(sampler)

    def draw(batch: list[PlannedImage]) -> tuple[list[PlannedImage], Drawn]:
        sampler = idle.get()
        try:
            return batch, sampler.draw(batch)
        finally:
            idle.put(sampler)

    running: deque[Future[tuple[list[PlannedImage], Drawn]]] = deque()
    pool = ThreadPoolExecutor(len(samplers), thread_name_prefix="draw")
    try:
        for batch in todo:
            running.append(pool.submit(draw, batch))
            if len(running) >= 2 * len(samplers):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:  # a batch may take minutes: after an interrupt what is drawn is filed at once
        pool.shutdown(wait=not received(), cancel_futures=True)


def progress_reporter(progress: Progress | None, plan: SynthesisPlan, reused: int) -> Callable[[int], None]:
    """Return a function of the images drawn so far that reports each new figure once."""
    last = -1

    def report_progress(drawn: int) -> None:
        nonlocal last
        if progress and reused + drawn != last:
            last = reused + drawn
            progress(last, len(plan))

    report_progress(0)
    return report_progress
