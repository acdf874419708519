"""SIGKILL at 20 random moments, started again each time: the same final hashes, no image filed twice, no shard damaged.

python -m experiments.shows.interrupted [--generator miniature-fast] [--images 4000] [--kills 20]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.bench import world_plan
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.plan import SamplingSettings, SynthesisPlan
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.synthesis.upkeep import verify


def plan_of(model: str, images: int) -> SynthesisPlan:
    """Return the plan that every start fills."""
    return world_plan(SamplingSettings.of(inspect(model)), images, 0)


def fill(model: str, images: int, store: str) -> int:
    """Fill the store and return how many images this start drew; say "drawing" with the first ones."""
    from fgl_flower.synthesis.engine import LocalEngine

    said: list[int] = []

    def progress(done: int, total: int) -> None:
        if done and not said:
            print("drawing", flush=True)
        said.append(done)

    return LocalEngine(model, device="cpu").fill(plan_of(model, images), SyntheticStore(store), progress).drawn


def start(model: str, images: int, store: Path) -> subprocess.Popen[bytes]:
    """Start this program as a process that fills the store."""
    words = [sys.executable, "-m", __spec__.name, "--generator", model, "--images", str(images), "--fill", str(store)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def main() -> None:
    """Print the figures; exit code 1 if one of the promises is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="miniature-fast")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fill", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        print(fill(given.generator, given.images, given.fill))
        return
    moments = random.Random(given.seed)
    plan = plan_of(given.generator, given.images)
    with tempfile.TemporaryDirectory() as folder:
        whole, torn = Path(folder, "whole"), Path(folder, "torn")
        began = time.perf_counter()
        start(given.generator, given.images, whole).wait()
        took = time.perf_counter() - began
        print(f"uninterrupted: {given.images} images in {took:.1f} s")
        kept = 0
        for kill in range(given.kills):
            process = start(given.generator, given.images, torn)
            assert process.stdout is not None
            process.stdout.readline()  # from the first images on: starting up takes longer than drawing
            time.sleep(moments.uniform(0, took / 8))
            process.kill()
            process.wait()
            verdict = verify(torn)
            lost = "" if verdict.images >= kept else f"; {kept - verdict.images} LOST"
            state = verdict.problems or "sound"
            print(f"kill {kill + 1}: {verdict.images} images, {verdict.shards} shards, {state}{lost}")
            if verdict.problems or lost:
                sys.exit(1)
            kept = verdict.images
        start(given.generator, given.images, torn).wait()
        verdict = verify(torn)
        same = SyntheticStore(torn).digest(plan) == SyntheticStore(whole).digest(plan)
        print(f"at last: {verdict.images} images of {len(plan)}, {verdict.problems or 'sound'}, hashes equal: {same}")
        sys.exit(not same or verdict.images != len(plan) or bool(verdict.problems))


if __name__ == "__main__":
    main()
