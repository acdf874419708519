"""What every observer of a run keeps to, and what a broken one may cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgl_flower.config import RunConfig
from fgl_flower.data.world import draw
from fgl_flower.records.observer import Observer
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder, Sample

METHODS = ("begin", "event", "samples", "end")
ROUND = {"event": "round", "round": 1, "bytes_total": 1200, "validation_accuracy": 0.5}


class Witness(Observer):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def begin(self, *told: Any) -> None:
        self.heard.append("begin")

    def event(self, event: Any) -> None:
        self.heard.append(f"event {event['event']}")

    def samples(self, *told: Any) -> None:
        self.heard.append("samples")

    def end(self, *told: Any) -> None:
        self.heard.append("end")


class ObserverSuite:
    """Derive from it and define `build`."""

    def build(self) -> Observer:
        """Return a new observer."""
        raise NotImplementedError

    def test_it_hears_a_whole_run_without_a_complaint_and_changes_nothing(self, tmp_path: Path) -> None:
        plain, watched = made(tmp_path / "plain", []), made(tmp_path / "watched", [self.build()])
        assert watched.result is not None
        assert watched.result.warnings == []
        assert watched.result == plain.result
        assert watched.samples == plain.samples
        outside = {path.name for path in (tmp_path / "watched").iterdir()}
        assert outside == {watched.path.name}, "it writes into the run's folder alone"

    def test_two_runs_have_two_observers_that_know_nothing_of_each_other(self, tmp_path: Path) -> None:
        for _ in range(2):
            result = made(tmp_path, [self.build()]).result
            assert result is not None
            assert result.warnings == []

    @pytest.mark.parametrize("method", METHODS)
    def test_one_that_raises_costs_nothing_but_what_it_writes(self, method: str, tmp_path: Path) -> None:
        broken, witness = self.build(), Witness()
        calls: list[str] = []

        def fail(*told: Any) -> None:
            calls.append(method)
            raise ZeroDivisionError("an observer's own fault")

        setattr(broken, method, fail)
        run = made(tmp_path, [broken, witness])
        assert (run.state, len(run.samples)) == ("finished", 1)
        assert run.result is not None
        (warning,) = run.result.warnings
        assert broken.name in warning
        assert "an observer's own fault" in warning
        assert calls == [method], "it hears nothing more"
        assert [told for told in witness.heard if told != "event warning"] == ["begin", "event round", "samples", "end"]


def made(folder: Path, observers: list[Observer]) -> Run:
    """Return a run of one round that never happened, heard by these observers."""
    config = RunConfig(method="fedavg", rounds=1, runs_dir=str(folder))
    with RunFolder.create(config, observers=observers) as run:
        run.log(ROUND)
        run.save_samples([Sample(draw("star", "photo", np.random.default_rng(0)).image, "validation", "star", "photo")])
        run.finish(Result.of(config, accuracy=0.5))
    return read_run(run.path)
