"""A store of 100,000 images: time to open, memory while training reads it, time to verify.

python -m experiments.shows.big_store [--images 100000]
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from experiments.bench.world_plan import world_plan
from fgl_flower.foundation.generator import GeneratorCard
from fgl_flower.synthesis.maintenance import tidy, verify
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.writer import encode_batch

CARD = GeneratorCard(
    "made-up", "sha256:0", "StableDiffusionPipeline", "DDIMScheduler", 4, 1.0, 32, Path("/nonexistent")
)
COMMIT = 256  # images a shard, as an engine that draws 128 images a second commits them
TRAINED_BATCH = 128


def anonymous_bytes() -> int:
    """Return the memory that is this process's own and cannot be paged back to a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def fill(store: SyntheticStore, plan: SynthesisPlan) -> None:
    """File smooth random images under a plan's keys: as large as drawn ones, made in no time."""
    settings = plan.settings.to_json()
    for start in range(0, len(plan), COMMIT):
        batch = plan.images[start : start + COMMIT]
        coarse = torch.from_numpy(np.random.default_rng(start).integers(0, 256, (len(batch), 3, 8, 8), dtype=np.uint8))
        fine = torch.nn.functional.interpolate(coarse.float(), (32, 32), mode="bicubic").clamp(0, 255)
        store.add(encode_batch(batch, fine.to(torch.uint8), settings))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    plan = world_plan(SamplingSettings.of(CARD), count, 0)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        fill(SyntheticStore(folder), plan)
        print(f"filled with {count:,} images in {time.perf_counter() - began:.0f} s")
        for state in ("as written", "after gc"):
            began = time.perf_counter()
            store = SyntheticStore(folder)
            opened = time.perf_counter() - began
            shards = list(Path(folder, "shards").glob("*.parquet"))
            size = sum(path.stat().st_size for path in shards) / 2**20
            print(f"{state}: {len(shards)} shards, {size:.0f} MiB; opened in {opened:.3f} s ({len(store):,} images)")
            began = time.perf_counter()
            verdict = verify(Path(folder))
            each = (time.perf_counter() - began) / max(verdict.images, 1) * 1e6
            print(
                f"{state}: verified in {each * verdict.images / 1e6:.1f} s, {each:.0f} us an image, {verdict.problems}"
            )
            if state == "as written":
                tidy(Path(folder))
        gc.collect()
        before = anonymous_bytes()
        labels = sorted({image.label for image in plan.images})
        began = time.perf_counter()
        images = store.images(plan, 32, labels)
        print(f"decoded in {time.perf_counter() - began:.1f} s; memory {(anonymous_bytes() - before) / 2**20:+.0f} MiB")
        total, peak = torch.zeros(3), 0
        for index in torch.randperm(len(images)).split(TRAINED_BATCH):
            total += images.pixels[index].float().mean((0, 2, 3))
            peak = max(peak, anonymous_bytes())
        pixels = images.pixels.numel() / 2**20
        used = (peak - before) / 2**20
        print(f"one epoch in batches of {TRAINED_BATCH}: memory {used:+.0f} MiB for {pixels:.0f} MiB of pixels")


if __name__ == "__main__":
    main()
