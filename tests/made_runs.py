"""Finished run folders made on the spot, for tests of the report and the commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgl_flower.config import RunConfig
from fgl_flower.data.world import CLASSES, STYLES, draw
from fgl_flower.records.reading import Run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder, Sample
from fgl_flower.report.observers import observers_of


def run_of(seed: int = 0, *, validation: Sequence[float] = (), beta: float = 0.1, **figures: Any) -> Run:
    """Return a finished run as if read back, of a folder that is not there.

    `validation` is the accuracy of each round from 1 on, 1 MB a round; `figures` are those of the result.
    """
    method = "fedavg" if validation else "fgl"
    config = RunConfig.parse({"method": method, "rounds": len(validation), "seed": seed, "beta": beta})
    events = [
        {"event": "round", "round": number, "bytes_total": 1_000_000 * number, "validation_accuracy": share}
        for number, share in enumerate(validation, 1)
    ]
    return Run(
        path=Path("nowhere"),
        config=config,
        state="finished",
        reason="",
        command="",
        environment={"platform": "Linux"},
        events=events,
        result=Result.of(config, **{"accuracy": 0.5, **figures}),
        partition=None,
        confusion=None,
        breakdown=None,
        samples=[],
        ledger={},
    )


def made_run(
    folder: Path,
    method: str = "fgl",
    *,
    prompt: str = "",
    rounds: int = 0,
    seed: int = 0,
    beta: float = 0.1,
    **more: Any,
) -> Path:
    """Return the folder of a run that never happened, with figures that are plausible and differ by method.

    The partition follows from seed and beta alone, as in a real run.
    """
    rng = np.random.default_rng([len(method), seed])
    settings = {"method": method, "name": method, "rounds": rounds, "seed": seed, "beta": beta}
    config = RunConfig.parse({**settings, "runs-dir": str(folder)})
    with RunFolder.create(config, command=f"fgl run {method}.toml", observers=observers_of(config)) as run:
        counts = np.random.default_rng(seed).dirichlet([beta] * 10, size=5) * 480
        run.save_partition(counts.astype(int), CLASSES)
        for number in range(rounds):
            share = 0.8 * (1 - 0.9 ** (number + 1))
            run.log(
                {
                    "event": "round",
                    "round": number + 1,
                    "bytes_total": 6_000_000 * (number + 1),
                    "validation_accuracy": share,
                }
            )
        if method == "fgl":
            run.save_samples(_samples(rng, prompt))
        total = np.full((len(CLASSES), len(STYLES)), 20)
        run.save_breakdown(rng.integers(0, 20, total.shape), total, CLASSES, STYLES)
        run.save_confusion(np.eye(10, dtype=int) * 120 + rng.integers(0, 20, (10, 10)), CLASSES)
        figures: dict[str, Any] = {
            "accuracy": 0.83 if method == "fgl" else 0.4,
            "accuracy_by_domain": dict(zip(STYLES, rng.uniform(0.5, 0.95, 6).tolist(), strict=True)),
            "accuracy_by_class": dict(zip(CLASSES, rng.uniform(0.5, 0.95, 10).tolist(), strict=True)),
            "validation_accuracy": 0.8,
            "synthetic_images": 2400 if method == "fgl" else 0,
            "bytes_up_per_client": 812 if method == "fgl" else 18_400_000,
            "bytes_down_per_client": 640_000,
            "bytes_total": 3_204_060,
            "seconds": {"prompts": 0.2, "synthesis": 61.5, "training": 22.1, "total": 84.6},
            "peak_memory_bytes": 1_300_000_000,
            "models": [{"role": "generator", "id": "miniature-fast", "revision": ""}] if method == "fgl" else [],
        }
        run.save_model({"weight": torch.zeros(3)})
        run.finish(Result.of(config, **{**figures, **more}))
    return run.path


def _samples(rng: np.random.Generator, prompt: str) -> list[Sample]:
    samples = []
    for label in CLASSES:
        for style in STYLES:
            text = prompt or f"a {style} of a {label}"
            samples.append(Sample(draw(label, style, rng).image, "synthetic", label, style, text, "3"))
            samples.append(Sample(draw(label, style, rng).image, "validation", label, style))
    return samples
