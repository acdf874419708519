"""How fast this machine draws and trains: by earlier runs of the same settings, else by operations and a measured peak.

The peak is what a matrix product reaches here and now, in the run's precision. Real work reaches a share of it, which
is an assumption and stated with each figure that rests on it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fgl_flower.config import RunConfig, SynthesisConfig
from fgl_flower.errors import ConfigError
from fgl_flower.records import environment
from fgl_flower.records.reading import Run, read_run

ASSUMED_SHARE = 0.3  # of the measured peak
_MOST_RUNS = 200  # the newest run folders that are looked at
_LEARNER = ("model", "norm", "batch_size", "image_size", "precision", "device")
_CLIENTS = (*_LEARNER, "client_workers", "client_cpus")
_ANY_SYNTHESIS = {"images_per_class"}


@dataclass(frozen=True)
class Rates:
    """Images a second on this machine by earlier runs, with the run's name; None: no run tells.

    Attributes
    ----------
    drawing, server, clients : (float, str) or None
        Images drawn; images passed forward and back on the server; the same over all clients of a round.
    """

    drawing: tuple[float, str] | None = None
    server: tuple[float, str] | None = None
    clients: tuple[float, str] | None = None


def measured(config: RunConfig) -> Rates:
    """Return what finished runs in the runs-dir tell of this machine, the newest of each kind."""
    here = environment.describe()
    runs = [run for run in _runs(Path(config.runs_dir).expanduser()) if _same_machine(run.environment, here)]
    return Rates(
        *(
            next(((rate, run.name) for run in runs if (rate := of(run, config))), None)
            for of in (_drawing, _server, _clients)
        )
    )


def _runs(folder: Path) -> Iterator[Run]:
    newest = sorted(folder.glob("*/result.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in newest[:_MOST_RUNS]:
        try:
            run = read_run(file.parent)
        except ConfigError:
            continue
        if run.result is not None:
            yield run


def _same_machine(told: dict[str, Any], here: dict[str, Any]) -> bool:
    return all(told.get(key) == here[key] for key in ("cpu", "cpu_count", "accelerator"))


def _equal(run: Run, config: RunConfig, keys: tuple[str, ...]) -> bool:
    return all(getattr(run.config, key) == getattr(config, key) for key in keys)


def _drawing(run: Run, config: RunConfig) -> float | None:
    keys = tuple(SynthesisConfig.model_fields.keys() - _ANY_SYNTHESIS - {"seed"})
    if not _equal(run, config, (*keys, "image_size", "device", "synthesis_engine", "synthesis_actors")):
        return None
    rates = [sum(event["images_per_second"].values()) for event in run.events if event.get("event") == "synthesis"]
    return max(rates, default=0.0) or None


def _server(run: Run, config: RunConfig) -> float | None:
    result = run.result
    if result is None or not _equal(run, config, _LEARNER) or run.config.method != "fgl" or result.resumed:
        return None
    if any(event.get("event") == "one-shot-model" for event in run.events):  # it took an earlier run's model
        return None
    seconds = result.seconds.get("server-training", 0.0)
    return result.synthetic_images * run.config.server_epochs / seconds if seconds else None


def _clients(run: Run, config: RunConfig) -> float | None:
    from fgl_flower.extension_points import is_strategy

    result = run.result
    if result is None or not _equal(run, config, _CLIENTS) or not is_strategy(run.config.method) or result.resumed:
        return None
    counts = (run.partition or {}).get("counts")
    seconds = result.seconds.get("clients", 0.0)
    if not counts or not seconds or run.config.fraction < 1 or result.failures:
        return None
    return sum(map(sum, counts)) * run.config.rounds * run.config.local_epochs / seconds


@lru_cache(maxsize=4)
def peak_flops(device: str, precision: str) -> float | None:
    """Return the operations a second that a matrix product reaches on a device, measured for a fraction of a second.

    None where it cannot be done: the device's memory is full, or it knows no such precision.
    """
    import torch

    side = 1024 if device == "cpu" else 8192
    dtype: torch.dtype = getattr(torch, precision)
    try:
        left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
        product = left @ right  # the first one sets things up
    except (RuntimeError, TypeError):
        return None
    wait: Callable[[], object] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None

    def seconds() -> float:
        wait()
        began = time.perf_counter()
        torch.matmul(left, right, out=product)
        wait()
        return time.perf_counter() - began

    return 2 * side**3 / min(seconds() for _ in range(5))
