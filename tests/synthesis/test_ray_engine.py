"""The Ray engine draws the same images as the local one, whatever happens to its actors."""

import os
from pathlib import Path

import psutil
import pytest
import ray
import torch

from fgl_flower.errors import ModelError, RunError
from fgl_flower.foundation.generator import Generator, inspect
from fgl_flower.foundation.memory import RESIDENT
from fgl_flower.foundation.origin import Origin
from fgl_flower.synthesis import maintenance as upkeep
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine
from fgl_flower.synthesis.settings import SamplingSettings
from fgl_flower.synthesis.store import SyntheticStore
from tests.conformance.engines import EngineSuite
from tests.made_images import TOLD, plan_for
from tests.plans import even_plan
from tests.tiny_models import save_decoder_of_one_value


@pytest.fixture(scope="module", autouse=True)
def cluster() -> object:
    """A one-node cluster whose only CPU is taken, as Flower's client actors take them all during a simulation."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)

    @ray.remote(num_cpus=1)
    class Client:
        def ready(self) -> bool:
            return True

    client = Client.remote()
    ray.get(client.ready.remote())
    yield client
    ray.shutdown()


def test_actors_draw_what_the_local_engine_draws_even_when_killed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from fgl_flower.synthesis.ray_engine import RayEngine

    generator = Generator.load(str(tiny_checkpoint), device="cpu", precision="float32")
    plan = plan_for(generator, 40)
    local = SyntheticStore(tmp_path / "local")
    LocalEngine(generator=generator).fill(plan, local)
    killed: list[int] = []

    def kill_one(done: int, _: int) -> None:
        if done >= 16 and not killed:
            ours = psutil.Process().children(recursive=True)
            named = psutil.process_iter(["pid", "cmdline"])  # asks all at once; one that has just ended has no names
            titles = {p.pid: (p.info["cmdline"] or [""])[0] for p in named}
            actors = [p for p in ours if titles.get(p.pid, "").startswith("ray::Painter")]
            for actor in actors[:1]:  # Ray sets the titles anew for every task: without any now, at the next progress
                killed.append(actor.pid)
                actor.kill()

    store = SyntheticStore(tmp_path / "ray")
    report = RayEngine(str(tiny_checkpoint), device="cpu", batch_size=4, actors=3).fill(plan, store, kill_one)
    assert (report.planned, report.drawn, len(killed)) == (80, 80, 1)
    assert len(report.images_per_second) >= 3
    assert store.digest(plan) == local.digest(plan)
    assert upkeep.verify(store.path).problems == []
    assert ray.is_initialized()  # the cluster was not ours to stop

    with pytest.raises(ModelError, match="there is no such folder"):
        RayEngine("/nowhere/model", device="cpu").fill(plan, SyntheticStore(tmp_path / "other"))


@pytest.mark.usefixtures("one_thread")
class TestRay(EngineSuite):
    @pytest.fixture(autouse=True)
    def _saved(self, tiny_checkpoint: Path) -> None:
        self.generator = str(tiny_checkpoint)

    def build(self, batch_size: int) -> SynthesisEngine:
        from fgl_flower.synthesis.ray_engine import RayEngine

        return RayEngine(self.generator, device="cpu", batch_size=batch_size)


def test_an_actor_refuses_images_that_are_not_finite(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The rest of the way is that of every error of an actor, see above."""
    from fgl_flower.synthesis.ray_engine import Painter

    broken = str(save_decoder_of_one_value(tiny_checkpoint, tmp_path / "nan", float("nan")))
    plan = even_plan(TOLD, 2, SamplingSettings.of(inspect(broken)))
    threads = torch.get_num_threads()
    with pytest.raises(RunError, match=r"4 of 4 images .* drawn by nan in float32") as caught:
        Painter(Origin(broken), "cpu", 0, RESIDENT, 0.0, plan.settings).draw(list(plan.images), {})
    torch.set_num_threads(threads)
    assert str(ray.cloudpickle.loads(ray.cloudpickle.dumps(caught.value))) == str(caught.value)


def test_a_built_in_name_is_no_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fgl_flower.synthesis.ray_engine import RayEngine

    (tmp_path / "miniature").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert RayEngine("miniature").origin.generator == "miniature"
    assert RayEngine("mine").origin.generator == str(tmp_path / "mine")
