"""SIGKILL at 20 random moments, started again each time: the same final hashes, no image filed twice, no shard damaged.

python -m experiments.shows.interrupted [--generator miniature-fast] [--images 20000] [--kills 20]
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.bench.world_plan import world_plan
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.maintenance import verify
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore


def plan_of(model: str, images: int) -> SynthesisPlan:
    """Return the plan that every start fills."""
    return world_plan(SamplingSettings.of(inspect(model)), images, 0)


def fill(model: str, images: int, store: str) -> float:
    """Fill the store and return the seconds of drawing; say "drawing" with the first batch that is drawn."""
    from fgl_flower.synthesis.engine import LocalEngine

    reports: list[int] = []

    def progress(done: int, total: int) -> None:
        reports.append(done)
        if len(reports) == 2:  # the first report is of what an earlier start has left
            print("drawing", flush=True)

    report = LocalEngine(model, device="cpu").fill(plan_of(model, images), SyntheticStore(store), progress)
    return report.drawing_seconds


def start(model: str, images: int, store: Path) -> subprocess.Popen[bytes]:
    """Start this program as a process that fills the store."""
    command = [sys.executable, "-m", __spec__.name, "--generator", model, "--images", str(images), "--fill", str(store)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def main() -> None:
    """Print the figures; exit code 1 if one of the promises is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="miniature-fast")
    parser.add_argument("--images", type=int, default=20000)
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
        unbroken, _ = start(given.generator, given.images, whole).communicate()
        took = float(unbroken.split()[-1])
        print(f"uninterrupted: {given.images} images drawn in {took:.1f} s")
        kept = 0
        for kill in range(given.kills):
            process = start(given.generator, given.images, torn)
            assert process.stdout is not None
            process.stdout.readline()  # from the first batch on: starting up takes longer than this drawing
            time.sleep(moments.uniform(0, 2 * took / given.kills))
            running = process.poll() is None
            process.kill()
            process.wait()
            verdict = verify(torn)
            lost = "" if verdict.images >= kept else f"; {kept - verdict.images} LOST"
            state = verdict.problems or "sound"
            print(f"kill {kill + 1}: {verdict.images} images, {verdict.shards} shards, {state}{lost}", flush=True)
            if not running:
                print("it had ended before: nothing was interrupted; ask for more images or fewer kills")
            if verdict.problems or lost or not running:
                sys.exit(1)
            kept = verdict.images
        start(given.generator, given.images, torn).wait()
        verdict = verify(torn)
        same = SyntheticStore(torn).digest(plan) == SyntheticStore(whole).digest(plan)
        print(f"at last: {verdict.images} images of {len(plan)}, {verdict.problems or 'sound'}, hashes equal: {same}")
        sys.exit(not same or verdict.images != len(plan) or bool(verdict.problems))


if __name__ == "__main__":
    main()
