"""`fgl bench clients`: what simulated clients cost, beside Flower alone and beside pfl-research."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from experiments.bench.protocol import Federation
from experiments.cli.terminal import show

METHODS = {
    "nothing": ("in process", "Flower"),
    "prompts": ("in process", "Ray"),
    "fedavg": ("in process", "Ray", "Flower", "pfl", "pfl, processes"),
}
MOST_IMAGES = 50_000  # of all clients together: the built-in world draws no more in a sensible time
_SAMPLE_SECONDS = 0.2
console = Console()


def clients(
    number: Annotated[list[int] | None, typer.Option("--clients", min=2, help="Clients; repeatable.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="nothing, prompts or fedavg; repeatable.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="in process, Ray, Flower, pfl or 'pfl, processes'; repeatable.")
    ] = None,
    cohort: Annotated[int, typer.Option(min=1, help="Clients of a round of FedAvg, at most.")] = 50,
    images: Annotated[int, typer.Option(min=1, help="Images of each client, at most: 50,000 are shared.")] = 50,
    prompt_images: Annotated[int, typer.Option(min=1, help="Images of all clients together, for prompts.")] = 2100,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step of FedAvg; one local epoch.")] = 10,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of FedAvg.")] = 30,
    lr: Annotated[float, typer.Option(min=0, help="Clients' learning rate.")] = 0.1,
    repeats: Annotated[int, typer.Option(min=1, help="Times that all of it is run, each with a seed of its own.")] = 3,
    pfl: Annotated[Path | None, typer.Option(help="Folder into which pfl was installed (below).")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for bench-clients.json.")] = None,
) -> None:
    """Time federations of many clients: start-up, seconds a round, memory of each process, bytes and accuracy.

    Every federation runs in processes of its own, one after the other.

    [bold]nothing[/]: all clients are asked, and do nothing.

    [bold]prompts[/]: all are asked for class prompts and sent the final model.

    [bold]fedavg[/]: training as in pfl-research's benchmarks.

    The engines: [bold]in process[/] and [bold]Ray[/] are those of `fgl run`, [bold]Flower[/] is its own simulation
    around the same training function. [bold]pfl[/] is left out unless a folder says where it is:

      pip install --target runs/pfl --no-deps pfl==0.6.0 dp-accounting==0.5.1 prv-accountant==0.2.0

      pip install --target runs/pfl --no-deps absl-py==1.4.0 dm-tree==0.1.10 attrs==23.2.0 wrapt==2.5.2

    [bold]Examples[/]

      fgl bench clients --clients 1000 --repeats 1

      fgl bench clients --clients 10 --clients 10000 --method prompts

      fgl bench clients --clients 1000 --method fedavg --pfl runs/pfl -o runs/bench
    """
    counts = number or [10, 100, 1000]
    unknown = [name for name in method or [] if name not in METHODS]
    unknown += [name for name in engine or [] if not any(name in engines for engines in METHODS.values())]
    if unknown:
        console.print(f"fgl: there is no {unknown[0]!r} to measure; see fgl bench clients --help", style="red")
        sys.exit(2)
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for count in counts:
            each = max(1, min(images, MOST_IMAGES // count))
            for one in method or METHODS:
                for where in METHODS[one]:
                    if (engine and where not in engine) or (where.startswith("pfl") and pfl is None):
                        continue
                    federation = Federation(
                        one, where, count, min(cohort, count), each, batch_size, rounds, lr, repeat, prompt_images
                    )
                    rows.append({**asdict(federation), **_measured(federation, pfl)})
                    console.print(_sentence(rows[-1]), highlight=False)
                    _write(rows, output)
    show(summary(rows))


def _measured(federation: Federation, pfl: Path | None) -> dict[str, Any]:
    """Run a federation in a process of its own; return its figures, and peak memory in MiB by kind of process."""
    command = [sys.executable, "-m"]
    if federation.engine == "pfl, processes":
        import torch

        command += ["torch.distributed.run", "--nproc-per-node", str(torch.get_num_threads()), "-m"]
    command += ["experiments.bench.federations", json.dumps(asdict(federation))]
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0"}
    if pfl is not None and federation.engine.startswith("pfl"):
        environment["PYTHONPATH"] = os.pathsep.join([str(pfl), *filter(None, [os.environ.get("PYTHONPATH")])])
    began, peaks = time.monotonic(), dict[str, float]()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors, text=True)
        while process.poll() is None:
            for kind, size in _memory(process.pid):
                peaks[kind] = max(peaks.get(kind, 0.0), size)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SAMPLE_SECONDS)
        out.seek(0)
        errors.seek(0)
        said, complaint = out.read(), errors.read()
    figures = next((line for line in reversed(said.splitlines()) if line.startswith("{")), None)
    if process.returncode or figures is None:
        console.print(f"fgl: the federation failed:\n{complaint[-2000:]}", style="red", markup=False)
        sys.exit(1)
    return {**json.loads(figures), "memory_mib": peaks, "total_seconds": time.monotonic() - began}


def _memory(root: int) -> Iterator[tuple[str, float]]:
    """Yield the kind and memory in MiB of a process and its descendants.

    Of the first one what is resident; of the others what they share with none, as forks share what they were born with
    and actors Ray's object store.
    """
    try:
        processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in processes:
        with suppress(psutil.Error):  # gone meanwhile
            line = " ".join(one.cmdline())
            if one.pid == root:
                yield "server", one.memory_info().rss / 2**20
            elif "ClientAppActor" in line:
                yield "actor", one.memory_full_info().uss / 2**20
            elif "experiments.bench" in line:
                yield "client", one.memory_full_info().uss / 2**20


def _sentence(row: dict[str, Any]) -> str:
    seconds = statistics.median(row["round_seconds"])
    return (
        f"seed {row['seed']}: {row['clients']:,} clients, {row['method']}, {row['engine']}: "
        f"start {row['start_seconds']:.1f} s, a round {seconds:.2f} s"
    )


def summary(rows: list[dict[str, Any]]) -> Table:
    """Return the medians over repetitions, with ranges of the rounds' seconds."""
    table = Table(title="Simulated clients: medians (smallest to largest)")
    for heading in ("clients", "method", "engine", "start, s", "a round, s", "broadcast, s", "memory, MiB", "bytes up"):
        table.add_column(heading, justify="left" if heading in {"method", "engine"} else "right")
    table.add_column("accuracy, %", justify="right")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["clients"], row["method"], row["engine"]), []).append(row)
    for (count, method, engine), same in groups.items():
        rounds = [statistics.median(row["round_seconds"]) for row in same]
        kinds = sorted({kind for row in same for kind in row["memory_mib"]}, reverse=True)
        memory = [f"{kind} {statistics.median(row['memory_mib'].get(kind, 0) for row in same):,.0f}" for kind in kinds]
        table.add_row(
            f"{count:,}",
            method,
            engine,
            _spread([row["start_seconds"] for row in same], 1),
            _spread(rounds, 2),
            _spread([row["broadcast_seconds"] for row in same], 2),
            ", ".join(memory),
            "" if same[0]["bytes_up"] is None else f"{same[0]['bytes_up']:,}",
            _spread([row["accuracy"] and 100 * row["accuracy"] for row in same], 1),
        )
    return table


def _spread(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle = f"{statistics.median(known):.{digits}f}"
    return middle if len(known) == 1 else f"{middle} ({min(known):.{digits}f}-{max(known):.{digits}f})"


def _write(rows: list[dict[str, Any]], output: Path | None) -> None:
    """Keep the figures as they come: a run that is cut off has not been for nothing."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "bench-clients.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
