"""Clients that fail: by client, round and reason in the result; whole errors stay with whoever owns the client."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients import training
from clients.client_app import app as deployed
from clients.client_app import simulated
from clients.data import Client
from fgl_flower.config import RunConfig
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.reading import read_run
from fgl_flower.records.result import Failure
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.failures import ClientErrors, Failures
from strategies.gate import Admitted, Gate
from strategies.guarded_grid import GuardedGrid
from strategies.server_app import serve
from tests.guarded import CLIENTS, GLOBAL, Answer, check, constant, federation, metrics, start
from tests.whole_runs import small

Broken = dict[int, set[int]]  # rounds in which a client fails, by partition


class Unnamed(InlineGrid):
    """A grid that, like a deployment's, cannot tell which partition a node holds."""

    def __init__(self, app: ClientApp, clients: int) -> None:
        super().__init__(app, clients, {})
        self.own, self.partition_ids = self.partition_ids, {}
        self.gone: set[int] = set()

    def get_node_ids(self) -> Iterable[int]:
        return [node for node, partition in self.own.items() if partition not in self.gone]

    def stream(self, messages: Iterable[Message], timeout: float | None = None) -> Iterator[Message]:
        self.partition_ids = self.own
        try:
            yield from list(super().stream(messages, timeout))
        finally:
            self.partition_ids = {}


def unnamed(answer: Answer) -> tuple[GuardedGrid, Unnamed]:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        content = answer(int(context.node_config["partition-id"]), message)
        return Message(content, reply_to=message) if content is not None else None  # type: ignore[return-value]

    inner = Unnamed(app, CLIENTS)
    return GuardedGrid(inner, Gate(GLOBAL, CLIENTS, ()), Ledger(CLIENTS), lambda event: None), inner


def failing(broken: Broken, why: str = "disk full") -> Answer:
    def answer(partition: int, message: Message) -> RecordDict | None:
        if message.content["config"]["server-round"] in broken.get(partition, ()):
            if not why:
                return None
            raise OSError(why)
        return constant(partition)

    return answer


def test_failures_are_counted_by_client_and_reason() -> None:
    def answer(partition: int, message: Message) -> RecordDict | None:
        if partition == 3 and message.content["config"]["server-round"] == 2:
            return None
        return failing({1: {1, 2, 3}, 3: {1, 4}})(partition, message)

    grid, events = federation(answer)
    start(grid, rounds=4)
    assert grid.failures == [
        Failure(client="1", reason="OSError: disk full", rounds=[1, 2, 3]),
        Failure(client="3", reason="OSError: disk full", rounds=[1, 4]),
        Failure(client="3", reason="no reply in time", rounds=[2]),
    ]
    assert len([event for event in events if event["event"] == "failure"]) == 6
    assert grid.quarantined == {}


def test_a_node_that_never_tells_its_partition_is_named_by_its_id_until_it_does() -> None:
    grid, inner = unnamed(failing({2: {1, 2}, 4: {1}}))
    start(grid, rounds=1)
    ids = {partition: node for node, partition in inner.own.items()}
    assert {failure.client for failure in grid.failures} == {f"node {ids[2]}", f"node {ids[4]}"}
    start(grid, rounds=2)
    assert [(failure.client, failure.rounds) for failure in grid.failures] == [("4", [1]), (f"node {ids[2]}", [1, 2])]


def test_a_client_that_is_no_longer_connected_has_failed() -> None:
    grid, inner = unnamed(failing({}))
    start(grid, rounds=1)
    inner.gone = {0, 3}
    start(grid, rounds=2)
    assert grid.failures == [
        Failure(client="0", reason="not connected", rounds=[1, 2]),
        Failure(client="3", reason="not connected", rounds=[1, 2]),
    ]


def test_a_quarantined_client_is_no_failure() -> None:
    grid, _ = federation(lambda partition, message: constant(partition) if partition else RecordDict())
    start(grid, rounds=2)
    assert list(grid.quarantined) == ["0"]
    assert grid.failures == []


def test_two_million_failures_are_counted_in_little_time() -> None:
    failures = Failures()
    begin = time.monotonic()
    for server_round in range(1, 201):
        for node in range(10_000):
            failures.add(node, "no reply in time", server_round)
    found = failures.by_client(str)
    assert time.monotonic() - begin < 20
    assert len(found) == 10_000
    assert found[-1] == Failure(client="9999", reason="no reply in time", rounds=list(range(1, 201)))


# --- images that clients left out ---


def test_what_clients_left_out_is_kept_by_client_and_hidden_from_strategies() -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        content, told = constant(partition), {1: 1, 2: 7, 3: 0}
        if partition in told:
            content["metrics"] = metrics(partition_id=partition, skipped=told[partition])
        return content

    grid, _ = federation(answer)
    start(grid)
    assert grid.skipped == {"client 1": 1, "client 2": 7}
    admitted = check(RecordDict({"arrays": GLOBAL, "metrics": metrics(skipped=4)}))
    assert isinstance(admitted, Admitted)
    assert admitted.skipped == 4
    assert set(admitted.content["metrics"]) == {"num-examples", "loss"}


@pytest.mark.parametrize("skipped", [-1, 2**31, 1.0, [1]])
def test_an_absurd_number_of_left_out_images_is_refused(skipped: Any) -> None:
    def answer(partition: int, message: Message) -> RecordDict:
        content = constant(partition)
        if partition == 0:
            content["metrics"] = metrics(partition_id=0, skipped=skipped)
        return content

    grid, _ = federation(answer)
    start(grid)
    assert list(grid.quarantined) == ["0"]
    assert "skipped must be a whole number" in grid.quarantined["0"]
    assert grid.skipped == {}


def test_a_payload_tells_what_was_left_out() -> None:
    app, counts = ClientApp(), {0: 0, 1: 3}

    @app.query("prompts")
    def prompts(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        payload = PromptPayload(number, (Prompt("a star", "star"),), {"star": 1}, skipped=counts[number])
        return Message(encode(payload), reply_to=message)

    grid = GuardedGrid(InlineGrid(app, 2, {}), Gate(ArrayRecord(), 2, ("star",)), Ledger(2), lambda event: None)

    def ask() -> None:
        replies = grid.send_and_receive([Message(RecordDict(), n, "query.prompts") for n in grid.get_node_ids()])
        assert len(list(replies)) == 2

    ask()
    assert grid.skipped == {"client 1": 3}
    counts.update({0: 2, 1: 0})
    ask()
    assert grid.skipped == {"client 0": 2}
    counts[0] = 10**12
    grid.send_and_receive([Message(RecordDict(), n, "query.prompts") for n in grid.get_node_ids()])
    assert list(grid.quarantined) == ["0"]


# --- whole runs ---


def broken_training(broken: Broken) -> Callable[..., RecordDict]:
    train = training.train

    def work(client: Any, content: RecordDict, state: RecordDict) -> RecordDict:
        if content["config"]["server-round"] in broken.get(client.partition_id, ()):
            raise OSError(f"cannot read /home/owner/secret/{client.partition_id}.png")
        return train(client, content, state)

    return work


def run(config: RunConfig, app: ClientApp, engine: str, **options: Any) -> Path:
    with RunFolder.create(config) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat(), **options), config, folder, engine=engine)
    return folder.path


def test_two_of_five_clients_that_fail_in_every_round_are_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", broken_training({1: {1, 2, 3}, 4: {1, 2, 3}}))
    config = small(tmp_path, "fedavg", "miniature-fast", clients=5, rounds=3)
    path = run(config, deployed, "deployment")
    stored = json.loads((path / "result.json").read_text(encoding="utf-8"))
    reason = "OSError: cannot read <a path>"
    assert stored["failures"] == [
        {"client": "1", "reason": reason, "rounds": [1, 2, 3]},
        {"client": "4", "reason": reason, "rounds": [1, 2, 3]},
    ]
    assert stored["requests_per_client"] > 100, "each tensor of a model is a request"
    assert not (path / "clients.log").exists()
    assert "secret" not in "".join(file.read_text(errors="replace") for file in path.glob("*.json*"))


def test_a_supernode_without_partition_id_is_in_the_result(tmp_path: Path) -> None:
    config = small(tmp_path, "fedavg", "miniature-fast", rounds=2)
    path = run(config, deployed, "deployment", node_configs={1: {"partition-id": ""}})
    result = read_run(path).result
    assert result is not None
    [failure] = result.failures
    assert failure.rounds == [1, 2]
    assert failure.reason.startswith("ConfigError: partition-id = ''")


def test_a_simulated_client_s_whole_error_is_in_the_run_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", broken_training({1: {1, 2}, 2: {2}}))
    path = run(small(tmp_path, "fedavg", "miniature-fast"), simulated, "inline")
    text = (path / "clients.log").read_text(encoding="utf-8")
    assert text.startswith("client 1 in train: OSError: cannot read /home/owner/secret/1.png\nTraceback (most recent")
    assert "in broken_training" not in text
    assert 'raise OSError(f"cannot read' in text
    assert text.count("Traceback (most recent call last)") == 2  # one a client, not one a round
    result = read_run(path).result
    assert result is not None
    assert [(f.client, f.reason, f.rounds) for f in result.failures] == [
        ("1", "OSError: cannot read /home/owner/secret/1.png", [1, 2]),
        ("2", "OSError: cannot read /home/owner/secret/2.png", [2]),
    ]


def test_errors_are_kept_up_to_a_number_and_never_end_a_run(tmp_path: Path) -> None:
    errors = ClientErrors(tmp_path / "clients.log")
    for number in range(1000):
        taken = errors.take(f"client 3 in train: ValueError: {number} \ud800\nTraceback (most recent call last):\n")
        assert taken == (3, f"ValueError: {number} \ud800\nTraceback (most recent call last):\n")
    assert (tmp_path / "clients.log").read_text(encoding="utf-8").count("Traceback") == 100
    assert ClientErrors(tmp_path).take("one\ntwo") == (None, "one\ntwo")  # a folder is no file to write to


def test_a_deployed_client_s_whole_error_stays_in_its_owner_s_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(context: Context, *, keeps: bool) -> None:
        raise ValueError("two\nlines of /home/owner/private")

    def reason(app: ClientApp) -> str:
        grid = InlineGrid(app, 1, {})
        [reply] = grid.send_and_receive([Message(RecordDict(), node, "train") for node in grid.get_node_ids()])
        return reply.error.reason or ""

    monkeypatch.setattr(Client, "of", fail)
    logger = logging.getLogger("flwr")
    monkeypatch.setattr(logger, "filters", [])  # of an earlier `fgl` in this process
    logger.addHandler(caplog.handler)
    try:
        assert "Traceback (most recent call last)" in reason(simulated)
        assert caplog.text == ""
        assert reason(deployed) == "ValueError: two lines of <a path>"
        assert "Traceback (most recent call last)" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
