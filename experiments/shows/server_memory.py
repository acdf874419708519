"""What the server of FedAvg holds while models come: `python -m experiments.shows.server_memory --clients 200`.

Clients with an image each train a ResNet-18 (45 MB) for a step. Memory is that of the process in which the server runs,
peak in each round, above what it held before the round, in models. In process with one client at a time the client
is part of it.
"""

import argparse
import statistics
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

from experiments.ray_simulation import Engine
from experiments.runner import run_folder
from experiments.shows.lines import print_line
from fgl_flower.config import RunConfig
from fgl_flower.learning.building import build_model
from fgl_flower.wire.arrays import to_arrays

_SAMPLE_SECONDS = 0.005


def resident() -> int:
    """Return this process' resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(clients: int, rounds: int, engine: Engine, workers: int) -> dict[str, object]:
    """Run a federation and return the peak of each of its rounds after the first, in models."""
    marks: list[tuple[float, int]] = []
    samples: list[tuple[float, int]] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            samples.append((time.monotonic(), resident()))

    def watch(phase: str, done: int, total: int) -> None:
        if phase == "rounds":
            marks.append((time.monotonic(), resident()))

    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            method="fedavg",
            model="resnet-18",
            clients=clients,
            private_images=clients,
            validation_images=20,
            test_images=20,
            partition="iid",
            rounds=rounds,
            local_epochs=1,
            client_workers=workers,
            runs_dir=folder,
        )
        model = sum(len(array.data) for array in to_arrays(build_model(config.model, 10, config.norm, seed=0)).values())
        thread = threading.Thread(target=sample)
        thread.start()
        try:
            run_folder(config, engine=engine, watch=watch)
        finally:
            over.set()
            thread.join()
    peaks = []
    for (began, held), (ended, _) in pairwise(marks[1:]):
        peaks.append((max(size for at, size in samples if began <= at <= ended) - held) / model)
    return {
        "engine": engine,
        "clients": clients,
        "clients at a time": workers,
        "model, MB": round(model / 1e6, 1),
        "peak of rounds, models": [round(peak, 2) for peak in peaks],
        "median": round(statistics.median(peaks), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--engine", choices=["inline", "ray"], default="inline")
    parser.add_argument("--workers", type=int, default=0, help="clients at a time; 0: as many as the cores hold")
    given = parser.parse_args()
    print_line(measure(given.clients, given.rounds, given.engine, given.workers))
