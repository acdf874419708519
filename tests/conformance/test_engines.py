"""The local engine with a tiny pipeline and a user's generator, and a user's own; test_ray_engine.py has Ray's."""

from pathlib import Path

import pytest

from fgl_flower.synthesis.engine import LocalEngine, Progress, SynthesisEngine, SynthesisReport
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.store import SyntheticStore
from tests.conformance.engines import EngineSuite

pytestmark = pytest.mark.usefixtures("one_thread")


class Halves:
    """An engine of a user's own: what two engines draw, one half after the other."""

    def __init__(self, generator: str, batch_size: int) -> None:
        self.engines = [LocalEngine(generator, device="cpu", batch_size=batch_size) for _ in range(2)]

    def fill(self, plan: SynthesisPlan, store: SyntheticStore, progress: Progress | None = None) -> SynthesisReport:
        reused = len(plan) - len(store.missing(plan.keys))
        for number, engine in enumerate(self.engines):
            engine.fill(plan.select(plan.keys[number::2]), store)
            if progress:
                progress(len(plan) - len(store.missing(plan.keys)), len(plan))
        return SynthesisReport(len(plan), reused, len(plan) - reused, 0.0)


class TestLocal(EngineSuite):
    @pytest.fixture(autouse=True)
    def _saved(self, tiny_checkpoint: Path) -> None:
        self.generator = str(tiny_checkpoint)


class TestDocumentedGenerator(EngineSuite):
    generator = "documented_objects:Noise"


class TestOwnEngine(EngineSuite):
    generator = "documented_objects:Noise"

    def build(self, batch_size: int) -> SynthesisEngine:
        return Halves(self.generator, batch_size)
