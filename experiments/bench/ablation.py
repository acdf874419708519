"""What each setting of the synthesis engine gains alone, and what it does to a classifier trained on the images."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.bench.measuring import Spread, peak_memory, synchronise
from experiments.bench.reference_loop import GUIDANCE, PROMPTS_PER_CALL, STEPS
from experiments.bench.world_plan import world_plan
from fgl_flower.device import resolve_device, resolve_precision
from fgl_flower.foundation.generator import Generator
from fgl_flower.synthesis.engine import LocalEngine, side_by_side
from fgl_flower.synthesis.plan import PlannedImage
from fgl_flower.synthesis.prompt_cache import PromptCache
from fgl_flower.synthesis.sampler import Sampler
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.tuning import CPU_ROWS, compile_modules, one_thread_each, prepare, replicas_for
from fgl_flower.synthesis.writer import StoreWriter, encode_drawn

SECONDS_EACH = 10.0  # of drawing, of one setting in one round
SEEDS = (0, 1, 2)


@dataclass
class Case:
    """The loop of our own with one thing changed; as it stands, none: ten images a call, on all threads, PNGs in turn.

    Attributes
    ----------
    name : str
    generator : str
        Generator id.
    options : dict
        Of `SamplingSettings.of`.
    rows, replicas : int
        Images a call, samplers side by side.
    one_thread, channels_last, overlapped, compiled : bool
        Whether replicas run on one thread each, weights are laid out channels-last, encoding overlaps drawing, denoiser
        and decoder are compiled.
    """

    name: str
    generator: str
    options: dict[str, Any]
    rows: int = PROMPTS_PER_CALL
    replicas: int = 1
    one_thread: bool = False
    channels_last: bool = False
    overlapped: bool = False
    compiled: bool = False
    rates: list[float] = field(default_factory=list)
    memory: int = 0


def settings_for_ablation(model: str, device: str) -> list[Case]:
    """Return the plain loop, each setting alone on top of it, and all that the engine uses together."""
    plain = Case(
        "own loop, prompts encoded once", model, {"steps": STEPS, "guidance": GUIDANCE, "precision": "float32"}
    )
    gpu = resolve_device(device).type == "cuda"
    if gpu:
        plain.options["precision"] = "float16"

    batch = 64 if gpu else CPU_ROWS

    def alone(name: str, generator: str = model, **changes: Any) -> Case:
        options = plain.options | {k: v for k, v in changes.items() if k not in Case.__dataclass_fields__}
        own = {k: v for k, v in changes.items() if k in Case.__dataclass_fields__}
        return replace(plain, name=name, generator=generator, options=options, rates=[], **own)

    result = [
        plain,
        alone(f"batch of {batch} instead of {PROMPTS_PER_CALL}", rows=batch),
        alone("channels-last", channels_last=True),
        alone("encoding in threads", overlapped=True),
        alone("compiled", compiled=True),
        alone("DPM-Solver++, 15 steps", scheduler="dpm++", steps=15),
        alone("UniPC, 15 steps", scheduler="unipc", steps=15),
        alone("guidance from 0.2 to 0.8 of the steps", guidance_from=0.2, guidance_until=0.8),
    ]
    if gpu or resolve_precision("auto", resolve_device(device)) == "bfloat16":  # elsewhere it is emulated
        result.insert(4, alone("bfloat16", precision="bfloat16"))
    if not gpu:
        cores = replicas_for(Generator.load(model, device="cpu"))
        result.insert(3, alone("one-thread replicas", replicas=cores, one_thread=True))
    if model == "miniature":
        result.append(alone("distilled: 4 steps, no guidance", generator="miniature-fast", steps=4, guidance=1.0))
    return result


def measure_ablation(model: str, device: str, repeats: int, console: Any) -> list[dict[str, Any]]:
    """Measure every setting in turn, `repeats` times over; return a row for each, the gain against the plain loop."""
    cases = settings_for_ablation(model, device)
    for _ in range(repeats):
        for case in cases:
            _measure(case, device)
            console.print(f"{case.name}: {case.rates[-1]:.2f} images/s", highlight=False)
    plain = cases[0]
    return [
        {
            "name": case.name,
            "images_per_second": Spread.of(case.rates).median,
            "gain": Spread.of([a / b for a, b in zip(case.rates, plain.rates, strict=True)]).__dict__,
            "memory_bytes": case.memory,
        }
        for case in cases
    ]


def _measure(case: Case, device: str) -> None:
    generator = Generator.load(case.generator, "", device, case.options["precision"])
    settings = SamplingSettings.of(generator.card, **case.options)
    if case.channels_last:
        prepare(generator)
    if case.compiled:
        compile_modules(generator)
    plan = world_plan(settings, 4000, len(case.rates) + 1)
    prompts = PromptCache(generator, settings)
    prompts.encode([i.prompt for i in plan.images])
    samplers = [Sampler(prompts, case.rows) for _ in range(case.replicas)]
    with one_thread_each(generator) if case.one_thread else nullcontext(), tempfile.TemporaryDirectory() as folder:
        for sampler in samplers:
            sampler.draw(plan.images[: case.rows])  # warm, and compiled where that was asked
        synchronise(generator.device)
        with peak_memory(generator.device) as peak:
            began = time.perf_counter()
            todo = _until(began + SECONDS_EACH, plan.images, case.rows)
            count = _draw(samplers, todo, SyntheticStore(folder), settings, case.overlapped)
            case.rates.append(count / (time.perf_counter() - began))
            case.memory = max(case.memory, peak())


def _until(deadline: float, images: Sequence[PlannedImage], rows: int) -> Iterator[list[PlannedImage]]:
    for start in range(0, len(images), rows):
        if time.perf_counter() > deadline:
            return
        yield list(images[start : start + rows])


def _draw(
    samplers: list[Sampler],
    todo: Iterator[list[PlannedImage]],
    store: SyntheticStore,
    settings: SamplingSettings,
    overlapped: bool,
) -> int:
    count = 0
    if overlapped:
        with StoreWriter(store, settings) as writer:
            for batch, drawn in side_by_side(samplers, todo):
                writer.put(batch, drawn)
                count += len(batch)
        return count
    one_by_one = ((batch, samplers[0].draw(batch)) for batch in todo)
    for batch, drawn in side_by_side(samplers, todo) if len(samplers) > 1 else one_by_one:
        for image in encode_drawn(batch, drawn, settings):
            (store.path / f"{image.key}.png").write_bytes(image.png)
        count += len(batch)
    return count


def measure_accuracy(
    settings: SamplingSettings, generator: Generator, images_per_class: int, store: Path, say: Callable[[str], None]
) -> list[float]:
    """Return the accuracy, on the world's test split, of a classifier trained on drawn images alone; one a seed.

    Parameters
    ----------
    settings, generator
        What to draw with; the built-in world's class-and-style prompts, other images for each seed.
    images_per_class : int
    store : Path
        Keeps the images, so that another call draws only what is missing.
    say : callable
        Told each figure.
    """
    from fgl_flower.config import RunConfig
    from fgl_flower.data.sources import load_source
    from fgl_flower.learning.building import build_model
    from fgl_flower.learning.evaluation import evaluate
    from fgl_flower.learning.images import decode
    from fgl_flower.learning.training import train

    config = RunConfig()
    source = load_source(config)
    test = decode(source.test, config.image_size)
    figures = []
    for seed in SEEDS:
        plan = world_plan(settings, images_per_class * len(source.classes), seed)
        kept = SyntheticStore(store)
        LocalEngine(generator=generator).fill(plan, kept)
        model = build_model(config.model, len(source.classes), config.norm, seed=seed)
        train(
            model,
            kept.images(plan, config.image_size, source.classes, source.domains),
            epochs=config.server_epochs,
            batch_size=config.batch_size,
            lr=config.server_lr,
            momentum=config.momentum,
            weight_decay=config.server_weight_decay,
            seed=seed,
            schedule="cosine",
        )
        result = evaluate(model, test, num_classes=len(source.classes), num_domains=len(source.domains))
        figures.append(result.accuracy)
        say(f"seed {seed}: {100 * figures[-1]:.1f} %")
    return figures
