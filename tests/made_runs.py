"""Finished run folders made on the spot, for tests of the report and the commands."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgl_flower.config import RunConfig
from fgl_flower.data.world import CLASSES, STYLES, draw
from fgl_flower.runs import Result, RunFolder, Sample


def made_run(folder: Path, method: str = "fgl", *, prompt: str = "", rounds: int = 0, **more: Any) -> Path:
    """Return the folder of a run that never happened, with figures that are plausible and differ by method."""
    rng = np.random.default_rng(len(method))
    config = RunConfig.parse({"method": method, "name": method, "rounds": rounds, "beta": 0.1, "runs-dir": str(folder)})
    with RunFolder.create(config, command=f"fgl run {method}.toml", engine="inline") as run:
        counts = rng.dirichlet([0.1] * 10, size=5) * 480
        run.save_partition(counts.astype(int), CLASSES)
        for number in range(rounds):
            share = 0.8 * (1 - 0.9 ** (number + 1))
            run.log(
                {
                    "event": "round",
                    "round": number + 1,
                    "bytes_total": 6_000_000 * (number + 1),
                    "validation_accuracy": share,
                    "test_accuracy": share - 0.02,
                }
            )
        if method == "fgl":
            run.save_samples(_samples(rng, prompt))
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
            "models": [{"role": "generator", "id": "miniature-fast", "revision": ""}],
        }
        run.finish(Result.of(config, **{**figures, **more}), {"weight": torch.zeros(3)})
    return run.path


def _samples(rng: np.random.Generator, prompt: str) -> list[Sample]:
    samples = []
    for label in CLASSES:
        for style in STYLES:
            text = prompt or f"a {style} of a {label}"
            samples.append(Sample(draw(label, style, rng).image, "synthetic", label, style, text, "3"))
            samples.append(Sample(draw(label, style, rng).image, "validation", label, style))
    return samples
