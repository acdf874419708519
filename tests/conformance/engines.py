"""What every synthesis engine keeps to; a generator of your own is tried in the same way, through an engine."""

from pathlib import Path

import pytest

from fgl_flower.config import RunConfig
from fgl_flower.synthesis.engine import LocalEngine, SynthesisEngine
from fgl_flower.synthesis.maintenance import verify
from fgl_flower.synthesis.plan import SynthesisPlan
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore
from tests.plans import Told, even_plan

TOLD = [Told(f"a {style} of a {name}", name, style) for name in ("star", "circle") for style in ("photo", "sketch")]


class EngineSuite:
    """Derive from it and set `generator`; define `build` for an engine of your own.

    Attributes
    ----------
    generator : str
        Value of the key `generator`: ``module:object``, a folder, a hub id or a built-in name.
    """

    generator: str

    def build(self, batch_size: int) -> SynthesisEngine:
        """Return a new engine that draws by `generator` in batches of this size."""
        return LocalEngine(self.generator, device="cpu", batch_size=batch_size)

    @property
    def plan(self) -> SynthesisPlan:
        """24 images of four prompts, with the generator's own settings."""
        return even_plan(TOLD, 12, settings_for(RunConfig(generator=self.generator, device="cpu")))

    def test_every_image_is_filed_once_and_progress_ends_at_the_plan(self, tmp_path: Path) -> None:
        plan, store = self.plan, SyntheticStore(tmp_path)
        seen: list[tuple[int, int]] = []
        report = self.build(5).fill(plan, store, lambda *at: seen.append(at))
        assert (report.planned, report.reused, report.drawn) == (24, 0, 24)
        assert set(store.keys()) == set(plan.keys)
        assert verify(tmp_path).problems == []
        assert seen == sorted(seen)
        assert seen[-1] == (24, 24)
        seen.clear()
        again = self.build(5).fill(plan, store, lambda *at: seen.append(at))
        assert (again.planned, again.reused, again.drawn) == (24, 24, 0)
        assert set(seen) == {(24, 24)}

    def test_interrupted_and_in_other_batches_it_draws_what_the_local_engine_draws(self, tmp_path: Path) -> None:
        plan, store = self.plan, SyntheticStore(tmp_path / "own")

        def interrupt(done: int, _: int) -> None:
            if done >= 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.build(4).fill(plan, store, interrupt)
        kept = len(plan) - len(store.missing(plan.keys))
        assert 4 <= kept < 24, "what is drawn is kept, the rest is not drawn unasked"
        report = self.build(7).fill(plan, store)
        assert (report.reused, report.drawn) == (kept, 24 - kept)
        whole = SyntheticStore(tmp_path / "whole")
        LocalEngine(self.generator, device="cpu").fill(plan, whole)
        assert store.digest(plan) == whole.digest(plan)

    def test_a_plan_without_images_needs_no_generator(self, tmp_path: Path) -> None:
        report = self.build(4).fill(self.plan.select([]), SyntheticStore(tmp_path / "store"))
        assert (report.planned, report.drawn) == (0, 0)
        assert not (tmp_path / "store").exists()
