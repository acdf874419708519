"""`fgl bench synthesis`: how fast images are drawn here, beside the loop that the method was published with."""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from experiments.bench.tables import markdown, table
from fgl_flower.errors import ConfigError

# torch and diffusers are imported inside the commands, so that `fgl --help` answers at once. Neither Flower nor
# pydantic nor datasets is needed here: the benchmark runs on a bare GPU machine (`fgl` adds its other command).

app = typer.Typer(no_args_is_help=True, help="Measure speed on this machine.")
console = Console()

FEW_STEPS = 20  # of an undistilled generator of Stable Diffusion's size, with DPM-Solver++


@dataclass
class Contestant:
    """One way to draw images, and what was measured of it.

    Attributes
    ----------
    name : str
    settings : SamplingSettings
    engine : LocalEngine or None
        None: the reference loop.
    generator : Generator
    images : int
        Drawn in each repetition.
    """

    name: str
    settings: Any
    engine: Any
    generator: Any
    images: int
    rates: list[float] = field(default_factory=list)  # images a second
    memory: int = 0  # bytes at the peak
    operations: float = 0.0  # of one image
    seed: int = 0

    def run(self) -> None:
        """Draw `images` images that were never drawn before, into a new folder, and note rate and memory."""
        from experiments.bench.measuring import peak_memory, synchronise
        from experiments.bench.reference_loop import run_reference
        from experiments.bench.world_plan import world_plan
        from fgl_flower.synthesis.store import SyntheticStore

        self.seed += 1
        plan = world_plan(self.settings, self.images, self.seed)
        with tempfile.TemporaryDirectory() as folder, peak_memory(self.generator.device) as peak:
            synchronise(self.generator.device)
            began = time.perf_counter()
            if self.engine is None:
                run_reference(self.generator, plan.images, self.settings, Path(folder))
            else:
                self.engine.fill(plan, SyntheticStore(folder))
            self.rates.append(len(plan) / (time.perf_counter() - began))
            self.memory = max(self.memory, peak())


@app.command()
def synthesis(
    generator: Annotated[
        str,
        typer.Option(
            help="Generator: as in a run's configuration, or 'sd21-random' or 'sdxl-random', of the size of Stable "
            "Diffusion 2.1 and of SDXL."
        ),
    ] = "miniature",
    few_step: Annotated[
        str, typer.Option(help="Distilled generator to show beside it; 'none': leave it out.")
    ] = "miniature-fast",
    steps: Annotated[
        int, typer.Option(min=0, help="Steps of the engine's few-step row, at guidance 2; 0: the generator's own way.")
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16, of the engine.")] = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the contestants alternate.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Begin no further round after this long.")] = 150.0,
    ablation: Annotated[
        bool, typer.Option("--ablation/--no-ablation", "--levers", help="Measure each setting alone.")
    ] = False,
    accuracy: Annotated[bool, typer.Option(help="Train a classifier on the images of each setting, 3 seeds.")] = False,
    images_per_class: Annotated[int, typer.Option(min=1, help="For the classifier's training set.")] = 240,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for bench-synthesis.json.")] = None,
) -> None:
    """Draw with the reference loop and with the engine in turn: images a second, ratio, memory, and MFU on a GPU.

    [bold]Examples[/]

      fgl bench synthesis

      fgl bench synthesis --ablation --accuracy -o runs/bench

      fgl bench synthesis --generator sd21-random --device cuda
    """
    began = time.monotonic()
    try:
        contestants = _contestants(generator, few_step, steps, device, precision)
    except ConfigError as error:
        console.print(f"fgl: {error}", style="red", markup=False)
        sys.exit(2)
    results: dict[str, Any] = {"generator": generator, "device": _describe(contestants[0].generator.device)}
    if contestants[0].generator.device.type == "cuda":
        _prepare_gpu(contestants, results, output)
    else:
        for one in contestants:  # nothing is compiled: one small batch warms the caches
            replace(one, images=10, rates=[]).run()
    for done in range(repeats):
        if done and time.monotonic() - began > seconds:
            break
        for one in contestants:
            one.run()
            console.print(f"round {done + 1}: {one.name}: {one.rates[-1]:.2f} images/s", highlight=False)
        results["contestants"] = _summary(contestants, results)
        _write(results, output)
    console.print(table(results))
    if ablation:
        from experiments.bench.ablation import measure_ablation

        results["ablation"] = measure_ablation(generator, device, repeats, console)
        _write(results, output)
    if accuracy:
        from experiments.bench.ablation import measure_accuracy

        results["accuracy"] = {}
        for one in contestants:
            results["accuracy"][one.name] = measure_accuracy(
                one.settings,
                one.generator,
                images_per_class,
                (output or Path(tempfile.mkdtemp())) / "store",
                partial(_print_figure, one.name),
            )
            _write(results, output)


def _print_figure(name: str, figure: str) -> None:
    console.print(f"{name}: classifier trained on its images, {figure}", highlight=False)


def _contestants(model: str, few_step: str, steps: int, device: str, precision: str) -> list[Contestant]:
    """Return the reference loop, the engine at equal settings, and the engine as one would use it."""
    from experiments.bench.random_models import RANDOM, build_random
    from experiments.bench.reference_loop import GUIDANCE, STEPS
    from fgl_flower.device import resolve_device
    from fgl_flower.foundation.generator import Generator
    from fgl_flower.synthesis.engine import LocalEngine
    from fgl_flower.synthesis.settings import SamplingSettings

    gpu = resolve_device(device).type == "cuda"
    half = "float16" if gpu else "float32"

    def load(model: str, precision: str) -> Any:
        if model in RANDOM:
            return build_random(model, device, precision)
        return Generator.load(model, "", device, precision)

    plain, ours = load(model, half), load(model, precision)
    engine = LocalEngine(generator=ours, compiled=gpu)
    reference = SamplingSettings.of(plain.card, steps=STEPS, guidance=GUIDANCE, precision=plain.precision)
    same = SamplingSettings.of(ours.card, steps=STEPS, guidance=GUIDANCE, precision=ours.precision)
    default = SamplingSettings.of(ours.card, precision=ours.precision)
    if steps or model in RANDOM:
        default = SamplingSettings.of(
            ours.card, steps=steps or FEW_STEPS, guidance=GUIDANCE, scheduler="dpm++", precision=ours.precision
        )
    contestants = [
        Contestant("reference loop", reference, None, plain, 20 if ours.card.size <= 64 else 10),
        Contestant("engine, equal settings", same, engine, ours, 96),
        Contestant("engine, few steps", default, engine, ours, 192),
    ]
    if few_step != "none" and model == "miniature":
        fast = load(few_step, precision)
        settings = SamplingSettings.of(fast.card, precision=fast.precision)
        contestants.append(Contestant("engine, distilled", settings, LocalEngine(generator=fast), fast, 640))
    return contestants


def _prepare_gpu(contestants: list[Contestant], results: dict[str, Any], output: Path | None) -> None:
    """Measure the device, count operations, compile, and let every contestant fill its batches."""
    import torch

    from experiments.bench.measuring import matmul_rate, operations_per_image

    device = contestants[0].generator.device
    results["matmul_flops"] = matmul_rate(device, torch.bfloat16)
    console.print(f"bf16 matrix product: {results['matmul_flops'] / 1e12:.0f} TFLOP/s", highlight=False)
    for one in contestants:
        one.operations = operations_per_image(one.generator, one.settings)
    for one in contestants:
        began = time.perf_counter()
        short = replace(one.settings, steps=2)
        Contestant(one.name, short, one.engine, one.generator, 10 if one.engine is None else 1).run()
        if one.engine is not None:
            one.images = 2 * one.engine.rows[one.settings.size, one.settings.guided]
        console.print(f"{one.name}: ready after {time.perf_counter() - began:.0f} s", highlight=False)
        _write(results, output)


def _summary(contestants: list[Contestant], results: dict[str, Any]) -> list[dict[str, Any]]:
    from experiments.bench.measuring import Spread

    reference = contestants[0]
    rows = []
    for one in contestants:
        ratios = [own / other for own, other in zip(one.rates, reference.rates, strict=True)]
        row = {
            "name": one.name,
            "settings": asdict(one.settings),
            "images_per_second": asdict(Spread.of(one.rates)),
            "ratio": asdict(Spread.of(ratios)),
            "memory_bytes": one.memory,
            "batch": next(iter(one.engine.rows.values())) if one.engine else 10,
        }
        if one.operations:
            row["mfu"] = Spread.of(one.rates).median * one.operations / results["matmul_flops"]
            row["operations_per_image"] = one.operations
        rows.append(row)
    return rows


def _describe(device: Any) -> str:
    import psutil
    import torch

    from fgl_flower.records.environment import cores

    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kind, load = torch.backends.cpu.get_cpu_capability(), psutil.getloadavg()[0]
    return f"{cores()} CPU cores ({kind}), torch {torch.__version__}, load {load:.1f} before"


def _write(results: dict[str, Any], output: Path | None) -> None:
    """Keep the figures of every stage as they come: a run that is cut off has not been for nothing."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "bench-synthesis.md").write_text(markdown(results), encoding="utf-8")
        (output / "bench-synthesis.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
