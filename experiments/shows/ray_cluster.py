"""A Ray cluster of two nodes on this machine; an actor and a whole node are killed while images are drawn.

python -m experiments.shows.ray_cluster [--generator miniature-fast] [--images 2000]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from experiments.bench.world_plan import world_plan
from fgl_flower.foundation.generator import inspect
from fgl_flower.synthesis.engine import LocalEngine
from fgl_flower.synthesis.maintenance import verify
from fgl_flower.synthesis.ray_engine import RayEngine
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore

OBJECT_STORE = 100 * 2**20


def main() -> None:
    """Print the figures; exit code 1 if one of the promises is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="miniature-fast")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--actors", type=int, default=3)
    given = parser.parse_args()
    plan = world_plan(SamplingSettings.of(inspect(given.generator)), given.images, 0)
    cluster = Cluster()
    cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE, include_dashboard=False)
    second = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)
    began, done_at = time.perf_counter(), {"actor": 0, "node": 0}

    def strike(done: int, total: int) -> None:
        if done >= total // 4 and not done_at["actor"]:
            done_at["actor"] = done
            painter = next(p for p in psutil.Process().children(recursive=True) if "ray::Painter" in p.name())
            painter.kill()
            print(f"{time.perf_counter() - began:.1f} s: {done} images are drawn: killed actor {painter.pid}")
        if done >= total // 2 and not done_at["node"]:
            done_at["node"] = done
            cluster.remove_node(second, allow_graceful=False)
            print(f"{time.perf_counter() - began:.1f} s: {done} images are drawn: killed the second node")

    with tempfile.TemporaryDirectory() as folder:
        local, shared = SyntheticStore(Path(folder, "local")), SyntheticStore(Path(folder, "ray"))
        engine = RayEngine(given.generator, device="cpu", actors=given.actors, address=cluster.address)
        report = engine.fill(plan, shared, strike)
        print(f"drawn {report.drawn} of {report.planned} in {report.seconds:.1f} s")
        for actor, rate in report.images_per_second.items():
            print(f"  actor {actor}: {rate:.1f} images/s")
        verdict = verify(shared.path)
        print(f"store: {verdict.images} images, {verdict.problems or 'sound'}")
        cluster.shutdown()
        ray.shutdown()
        LocalEngine(given.generator, device="cpu").fill(plan, local)
        same = local.digest(plan) == shared.digest(plan)
        print(f"hashes equal to the local engine's: {same}")
    sys.exit(not same or verdict.images != len(plan) or bool(verdict.problems) or not all(done_at.values()))


if __name__ == "__main__":
    main()
