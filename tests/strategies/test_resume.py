"""A run that was killed goes on from its last finished step and ends as if it had never been."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from safetensors.numpy import load_file

from clients.client_app import simulated
from experiments.runner import run_folder
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, RunError
from fgl_flower.files import read_json, read_json_lines, write_json
from fgl_flower.records.reading import read_result, read_run
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.simulation import InlineGrid
from strategies.resume import snapshot
from strategies.resume.journal import Journal
from strategies.resume.state import FOLDER, RunState
from strategies.server_app import serve
from tests import whole_runs

GENERATOR: list[str] = []
PRETRAINED: list[str] = []


@pytest.fixture(autouse=True)
def _models(tiny_checkpoint: Path, tiny_vit: Path) -> None:
    GENERATOR[:], PRETRAINED[:] = [str(tiny_checkpoint)], [f"hub:{tiny_vit}"]


def small(folder: Path, method: str, **changes: Any) -> RunConfig:
    if "train" in changes:
        changes["model"] = PRETRAINED[0]
    few = {"private_images": 60, "validation_images": 20, "test_images": 20, "images_per_class": 3}
    return whole_runs.small(folder, method, GENERATOR[0], **{**few, **changes})


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing is tidied up."""


class Counting:
    """A client app that counts what it is asked, and kills the run at one question."""

    def __init__(self, kill_at: int = -1) -> None:
        self.kill_at = kill_at
        self.asked: Counter[tuple[str, int, int]] = Counter()

    def __call__(self, message: Message, context: Context) -> Message:
        if self.asked.total() == self.kill_at:
            raise Killed
        config: Any = message.content.config_records.get("config", {})
        number = int(config.get("server-round", 0))
        self.asked[message.metadata.message_type, number, int(context.node_config["partition-id"])] += 1
        return simulated(message, context)


def go(config: RunConfig, app: Counting, folder: RunFolder, engine: str = "deployment") -> Path:
    """Run; if the run is killed its folder is left as it is."""
    grid = InlineGrid(app, config.clients, config.to_flat())  # type: ignore[arg-type]
    try:
        serve(grid, config, folder, engine=engine)
    except Killed:
        status = read_json(folder.path / "status.json")
        write_json(folder.path / "status.json", {**status, "started": 1.0})  # as of a process that is gone
    return folder.path


def outcome(path: Path) -> dict[str, Any]:
    """What must not differ: figures, bytes, images, and the events but for their times."""
    result = read_result(path).model_dump()
    for key in ("seconds", "peak_memory_bytes", "resumed", "git"):
        result.pop(key)
    events = [
        {k: v for k, v in e.items() if k not in {"time", "reused", "drawn", "images_per_second"}}
        for e in read_json_lines(path / "metrics.jsonl")
        if e["event"] not in {"resumed", "one-shot-model", "epoch", "answers"}
    ]
    return {**result, "events": events}


METHODS: dict[str, dict[str, Any]] = {
    "fgl, then FedAdam": {"method": "fgl", "wrapped": "fedadam", "rounds": 2},
    "recurring prompts": {"method": "fgl", "rounds": 3, "prompt_every": 1, "fine_tune_epochs": 1},
    "FedAvgM, clients select": {"method": "fedavgm", "rounds": 3, "fraction": 0.7, "selection": "clients"},
    "MOON": {"method": "moon", "rounds": 3},
    "local": {"method": "local", "rounds": 2},
    "adapters alone travel": {"method": "fedavgm", "rounds": 3, "train": "lora"},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_run_killed_at_any_question_ends_as_if_it_never_was(name: str, tmp_path: Path) -> None:
    config = small(tmp_path / "whole", **METHODS[name])
    whole = Counting()
    unbroken = go(config, whole, RunFolder.create(config))
    expected, weights = outcome(unbroken), _weights(unbroken)
    questions = whole.asked.total()
    assert max(whole.asked.values()) == 1
    rng = np.random.default_rng(0)
    for kill_at in rng.integers(questions, size=2 if METHODS[name]["method"] == "fgl" else 1).tolist():
        config = small(tmp_path / f"killed-{kill_at}", **METHODS[name])
        first, second = Counting(kill_at), Counting()
        path = go(config, first, RunFolder.create(config))
        assert not (path / "result.json").exists()
        go(config, second, RunFolder.reopen(path, config))
        again = {key for key in first.asked if key in second.asked}
        assert not again, "a client is asked twice for what it has sent"
        assert first.asked + second.asked == whole.asked
        assert outcome(path) == expected
        assert read_result(path).resumed == 1
        assert not (path / FOLDER).exists()
        found = _weights(path)
        assert set(found) == set(weights)
        assert all((found[key] == weights[key]).all() for key in weights)


def _weights(path: Path) -> dict[str, np.ndarray]:
    file = path / "model.safetensors"
    return load_file(file) if file.exists() else {}


def test_images_that_are_filed_are_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(tmp_path / "whole", method="fgl", synthesis_batch_size=4)
    expected = outcome(go(config, Counting(), RunFolder.create(config)))
    config = small(tmp_path / "killed", method="fgl", synthesis_batch_size=4)
    folder = RunFolder.create(config)

    def kill(phase: str, done: int, total: int) -> None:
        if phase == "synthesis" and done >= total // 2:
            raise Killed

    folder.watch = kill
    path = go(config, Counting(), folder)
    second = Counting()
    go(config, second, RunFolder.reopen(path, config))
    assert not any(kind == "query.prompts" for kind, *_ in second.asked)
    assert outcome(path) == expected
    drawn = next(event for event in read_json_lines(path / "metrics.jsonl") if event["event"] == "synthesis")
    assert drawn["reused"] >= drawn["planned"] // 2
    assert drawn["reused"] + drawn["drawn"] == drawn["planned"]


class TestReopening:
    def killed(self, tmp_path: Path) -> tuple[RunConfig, Path]:
        config = small(tmp_path, method="fedavg", rounds=2)
        return config, go(config, Counting(3), RunFolder.create(config))

    def test_other_keys_are_refused(self, tmp_path: Path) -> None:
        config, path = self.killed(tmp_path)
        with pytest.raises(ConfigError, match="begun with another seed"):
            RunFolder.reopen(path, config.model_copy(update={"seed": 5}))

    def test_a_run_that_goes_on_is_refused(self, tmp_path: Path) -> None:
        config = small(tmp_path, method="fedavg", rounds=1)
        folder = RunFolder.create(config)
        with pytest.raises(ConfigError, match="still running"):
            RunFolder.reopen(folder.path, config)

    def test_a_finished_run_and_any_folder_are_refused(self, tmp_path: Path) -> None:
        config = small(tmp_path, method="fedavg", rounds=1)
        path = go(config, Counting(), RunFolder.create(config))
        with pytest.raises(ConfigError, match="is finished"):
            RunFolder.reopen(path, config)
        with pytest.raises(ConfigError, match="no run folder"):
            RunFolder.reopen(tmp_path, config)

    def test_a_run_that_failed_can_be_gone_on_with(self, tmp_path: Path) -> None:
        config, path = self.killed(tmp_path)
        RunFolder(path).fail("power cut")
        assert read_run(path).state == "failed"
        go(config, Counting(), RunFolder.reopen(path, config))
        assert read_run(path).state == "finished"

    def test_from_the_runner(self, tmp_path: Path) -> None:
        config, path = self.killed(tmp_path)
        assert run_folder(config, resume=path) == path
        assert read_result(path).resumed == 1


class TestState:
    def test_half_a_reply_at_the_end_is_left_out_and_written_over(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        for node in (7, 2**63 - 1):
            journal.keep("query.prompts-0-1", node, RecordDict({"metrics": MetricRecord({"a": node % 10})}), 100)
        file = tmp_path / "query.prompts-0-1"
        file.write_bytes(file.read_bytes()[:-3])
        assert list(journal.read("query.prompts-0-1")) == [7]
        journal.keep("query.prompts-0-1", 9, RecordDict({"config": ConfigRecord({"data": b"\0"})}), 200)
        read = journal.read("query.prompts-0-1")
        assert list(read) == [7, 9]
        content, size = read[9]
        assert (content.config_records["config"]["data"], size) == (b"\0", 200)

    def test_a_damaged_checkpoint_is_said_to_be_one(self, tmp_path: Path) -> None:
        (tmp_path / FOLDER).mkdir()
        (tmp_path / FOLDER / "round").write_bytes(b"\x01\x02 not Protobuf")
        with pytest.raises(RunError, match="cannot be read, begin a new run"):
            RunState(tmp_path, print)

    def test_what_cannot_be_written_is_told_and_ends_nothing(self, tmp_path: Path) -> None:
        (tmp_path / FOLDER).write_text("in the way")
        told: list[str] = []
        state = RunState(tmp_path, told.append)
        state.save(1, {}, {})
        made = state.once("model-1", lambda: ArrayRecord({"w": Array(np.ones(2))}))
        assert (made["w"].numpy() == 1).all()
        assert len(told) == 2
        assert "cannot be resumed" in told[0]

    def test_attributes_of_a_strategy_survive(self) -> None:
        class Strategy:
            def __init__(self, function: Callable[[], None] | None = None) -> None:
                self.step = 3
                self.function = function
                self.moments: Any = None
                self.by_node: dict[int, ArrayRecord] = {}
                self.pair: Any = ()

        before, after = Strategy(print), Strategy(max)
        before.moments = {"conv": np.arange(3.0), "bias": [np.ones((2, 2), np.float32), None]}
        before.by_node = {2**62: ArrayRecord({"w": Array(np.zeros(1))})}
        before.pair = (1, "x")
        snapshot.give(after, *snapshot.take(before))
        assert after.step == 3
        assert after.function is max
        assert after.pair == (1, "x")
        assert (after.moments["conv"] == before.moments["conv"]).all()
        assert after.moments["bias"][0].dtype == np.float32
        assert list(after.by_node) == [2**62]
