"""Fill a store by a pool of Ray actors: on this machine, inside Flower's simulation, or on a cluster by its address.

Ray does the work that is Ray's: `ray.util.ActorPool` hands out batches, a killed actor is started again (on another
node, if its own is gone) and its batch with it. The driver alone writes to the store, so a batch that was drawn twice
is filed once. Actors ask for no CPU: Flower's client actors hold all of them for a whole simulation, and an actor that
waited for one would wait for ever. A cluster that asks for a token finds it where Ray looks for it: RAY_AUTH_MODE=token
with RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, in the environment of every node and of the driver.
"""

import math
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import ActorPool

from fgl_flower.errors import ConfigError, RunError
from fgl_flower.foundation.memory import RESIDENT, Memory
from fgl_flower.foundation.origin import Origin
from fgl_flower.synthesis.engine import Progress, SynthesisReport, batches, progress_reporter, windows
from fgl_flower.synthesis.plan import PlannedImage, SynthesisPlan
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.shards import SyntheticImage
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.writer import StoreWriter, encode_drawn

RESTARTS = 20  # of one actor; more is a fault that starting again does not cure
Painted = tuple[str, list[SyntheticImage], int, list[str]]
BATCHES_EACH = 2  # one being drawn, one waiting beside it
LOCAL_OBJECT_STORE = 256 * 2**20


class RayEngine:
    """Draws on Ray actors.

    Parameters
    ----------
    model, revision, device
        As for `Generator.load`, on the actors' machines.
    batch_size : int
        Images of a batch; 0: chosen by an actor from its share of the free memory.
    memory : Memory
        How to save memory of an accelerator.
    actors : int
        Processes that draw, at least 1. GPUs that are free are divided among them; on CPUs each has one core.
    address : str
        Of a running cluster; empty: the one this process is connected to, else RAY_ADDRESS, else a local one for the
        time of the call.
    """

    def __init__(
        self,
        model: str | Origin,
        revision: str = "",
        device: str = "auto",
        batch_size: int = 0,
        *,
        memory: Memory = RESIDENT,
        actors: int = 1,
        address: str = "",
    ) -> None:
        self.origin = Origin.of(model, revision).absolute()
        self.device = device
        self.batch_size = batch_size
        self.memory = memory
        self.actors = actors
        self.address = address

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        """Draw the missing images of a plan and return when all are in the store.

        Raises
        ------
        ModelError
            If an actor cannot load the generator.
        StoreError
            If the store cannot be written; what was committed before stays.
        RunError
            If the cluster cannot be reached, an actor keeps dying or images are not finite; what was committed before
            stays.
        """
        began = time.perf_counter()
        missing = plan.select(store.missing(plan.keys))
        reused = len(plan) - len(missing)
        report_progress = progress_reporter(progress, plan, reused)
        if not missing.images:
            return SynthesisReport(len(plan), reused, 0, time.perf_counter() - began)
        drawn: Counter[str] = Counter()
        redrawn, blanked = 0, list[str]()
        with _ray(self.address, self.actors), self._pool(plan) as (pool, size):
            drawing = time.perf_counter()
            with StoreWriter(store, plan.settings) as writer:
                todo = (batch for window in windows(missing.images) for batch in batches(window, size, store))
                for worker, images, again, left in _in_any_order(
                    pool, (_with_embeddings(plan, batch) for batch in todo)
                ):
                    writer.put_encoded(images)
                    drawn[worker] += len(images)
                    redrawn += again
                    blanked += left
                    report_progress(drawn.total())
            ended = time.perf_counter()
        report_progress(len(missing))
        return SynthesisReport(
            planned=len(plan),
            reused=reused,
            drawn=writer.committed,
            seconds=time.perf_counter() - began,
            drawing_seconds=ended - drawing,
            images_per_second={worker: count / (ended - drawing) for worker, count in sorted(drawn.items())},
            redrawn=redrawn,
            blanked=tuple(blanked),
        )

    @contextmanager
    def _pool(self, plan: SynthesisPlan) -> Iterator[tuple[ActorPool, int]]:
        """Yield a pool of actors that can draw and the size of a batch; the actors end with it."""
        gpus = _gpus_each(self.device, self.actors)
        kind: Any = ray.remote(Painter).options(
            num_cpus=0, num_gpus=gpus, max_restarts=RESTARTS, max_task_retries=-1, scheduling_strategy="SPREAD"
        )
        actors = [
            kind.remote(self.origin, self.device, self.batch_size, self.memory, gpus, plan.settings)
            for _ in range(self.actors)
        ]
        try:
            with _faults():
                rows = min(ray.get([actor.rows.remote(*_with_embeddings(plan, plan.images[:1])) for actor in actors]))
            yield ActorPool(actors * BATCHES_EACH), self.batch_size or rows
        finally:
            for actor in actors:
                ray.kill(actor)


class Painter:
    """An actor's side: loads the generator when it is first asked to draw, so that a failure reaches the driver."""

    def __init__(
        self, origin: Origin, device: str, batch_size: int, memory: Memory, gpus: float, settings: SamplingSettings
    ) -> None:
        self.origin = origin
        self.device = device
        self.batch_size = batch_size
        self.memory = memory
        self.memory_share = gpus or 1.0
        self.settings = settings
        self.sampler: Any = None
        self.name = f"{socket.gethostname()}:{os.getpid()}"

    def rows(self, probe: Sequence[PlannedImage], embeddings: Mapping[str, np.ndarray]) -> int:
        """Return how many images a call of the denoiser draws."""
        return self._ready(probe, embeddings).rows

    def draw(self, batch: Sequence[PlannedImage], embeddings: Mapping[str, np.ndarray]) -> Painted:
        """Return the actor's name, a batch's encoded images, how many were redrawn and the keys of blanked ones."""
        drawn = self._ready(batch, embeddings).draw(batch)
        images = encode_drawn(batch, drawn, self.settings)
        return self.name, images, drawn.redrawn, [batch[i].key for i in drawn.blanked]

    def _ready(self, batch: Sequence[PlannedImage], embeddings: Mapping[str, np.ndarray]) -> Any:
        """Return the sampler, with the prompts of a batch encoded."""
        if self.sampler is None:
            import torch

            from fgl_flower.foundation.generator import Generator
            from fgl_flower.synthesis.prompt_cache import PromptCache
            from fgl_flower.synthesis.sampler import Sampler
            from fgl_flower.synthesis.tuning import prepare, rows_for

            generator = Generator.load(
                self.origin,
                device=self.device,
                precision=self.settings.precision,
                safety_checker=self.settings.safety_checker,
                memory=replace(self.memory, vae_tiling=self.settings.vae_tiling),
                speed=self.settings.speed,
            )
            prepare(generator)
            if generator.device.type == "cpu":
                torch.set_num_threads(1)  # see fgl_flower.synthesis.tuning
            prompts = PromptCache(generator, self.settings)
            prompts.encode([i.prompt for i in batch], embeddings)
            self.sampler = Sampler(prompts, rows_for(prompts, batch[0], self.batch_size, self.memory_share))
        self.sampler.prompts.encode([i.prompt for i in batch], embeddings)
        return self.sampler


def _with_embeddings(
    plan: SynthesisPlan, batch: Sequence[PlannedImage]
) -> tuple[Sequence[PlannedImage], dict[str, np.ndarray]]:
    """Return a batch and those of the plan's embeddings that it needs."""
    return batch, {i.prompt: plan.embeddings[i.prompt] for i in batch if i.prompt in plan.embeddings}


def _in_any_order(
    pool: ActorPool, todo: Iterator[tuple[Sequence[PlannedImage], dict[str, np.ndarray]]]
) -> Iterator[Painted]:
    """Yield the answers of the pool as they come in; a batch is asked for only when an actor can take it."""
    with _faults():
        for batch in todo:
            if not pool.has_free():
                yield pool.get_next_unordered()
            pool.submit(lambda actor, given: actor.draw.remote(*given), batch)
        while pool.has_next():
            yield pool.get_next_unordered()


@contextmanager
def _faults() -> Iterator[None]:
    """Turn Ray's errors into ours: an exception of an actor as it was raised there, a dead actor in a sentence."""
    try:
        yield
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayActorError as error:
        raise RunError(f"a synthesis actor died {RESTARTS} times over: {str(error).splitlines()[0]}") from error


@contextmanager
def _ray(address: str, actors: int) -> Iterator[None]:
    """Be connected to Ray; disconnect again only what was connected here."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # "": Ray would follow what a `ray start` left behind
    if address == "local":
        options |= {"num_cpus": actors, "include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RayError, RuntimeError) as error:
        if address == "local":
            raise RunError(f"cannot start Ray on this machine: {str(error).splitlines()[0]}") from error
        hint = "is it running, and is RAY_AUTH_TOKEN the cluster's?"
        raise RunError(f"cannot reach Ray at {address}: {str(error).splitlines()[0]} ({hint})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _gpus_each(device: str, actors: int) -> float:
    """Return each actor's share of the free GPUs, rounded down to what Ray can count."""
    if device == "cpu" or not ray.cluster_resources().get("GPU"):
        return 0.0
    free = ray.available_resources().get("GPU", 0.0)
    share = min(1.0, math.floor(1000 * free / actors) / 1000)
    if share <= 0:
        raise ConfigError(
            "Ray's GPUs are all taken: leave a share of them to synthesis (Flower: client-resources-num-gpus below 1)"
        )
    return share
