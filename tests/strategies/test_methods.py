"""Every method as a whole run: what it leaves, and what it makes of clients that fail, lie or do not come."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.client_app import app as client_app
from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.data.world import CLASSES
from fgl_flower.errors import RunError
from fgl_flower.extension_points import METHOD
from fgl_flower.preflight import preflight
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.observers import observers_of
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload
from strategies.server import Server
from strategies.server_app import serve
from strategies.waiting import wait_for_clients
from tests.tiny_classifiers import save_dual_encoder
from tests.tiny_models import save_text_to_image
from tests.whole_runs import served, small


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


@pytest.mark.parametrize("method", METHOD.builtins)
def test_every_method_runs_from_end_to_end(tmp_path: Path, method: str, generator: str) -> None:
    reads = {"zero-shot": {"model": f"hub:{save_dual_encoder(tmp_path / 'clip', 'clip', list(CLASSES))}"}}
    config = small(tmp_path, method, generator, **reads.get(method, {}))
    preflight(config)
    found = read_run(served(config))
    assert found.state == "finished"
    assert found.result is not None
    assert 0 <= found.result.accuracy <= 1
    assert 0 <= (found.result.validation_accuracy or 0) <= 1
    assert found.confusion is not None
    models = config.clients if method == "local" else 1
    assert np.sum(found.confusion["counts"]) == config.test_images * models
    rounds = [event["round"] for event in found.events if event["event"] == "round"]
    assert rounds == ([2] if method == "local" else list(range(config.rounds + 1)))
    assert (found.result.bytes_total > 0) == (method not in {"local", "centralised", "zero-shot"})
    assert (found.path / "model.safetensors").exists() == (method != "local")
    assert {sample["kind"] for sample in found.samples} == (
        {"synthetic", "validation"} if method in {"fgl", "mixed"} else {"validation"}
    )


def test_generative_learning_with_rounds_and_fine_tuning(tmp_path: Path, generator: str) -> None:
    one_shot = read_run(served(small(tmp_path, "fgl", generator, client_evaluation=False)))
    config = small(tmp_path, "fgl", generator, rounds=2, fine_tune_epochs=1, client_evaluation=False)
    rounds = read_run(served(config))
    assert one_shot.result is not None
    assert rounds.result is not None
    assert one_shot.result.bytes_up_per_client <= 1024 + 512  # prompts, and the versions on a deployed node
    assert one_shot.result.synthetic_images == rounds.result.synthetic_images == 60
    assert one_shot.result.synthetic_digest == rounds.result.synthetic_digest
    drawn = [event["drawn"] for event in rounds.events if event["event"] == "synthesis"]
    assert drawn == [0]  # the first run drew them all
    curve = [event for event in rounds.events if event["event"] == "round"]
    assert [event["round"] for event in curve] == [0, 1, 2]
    assert curve[0]["validation_accuracy"] == one_shot.events[-1]["validation_accuracy"]
    (only,) = [event for event in one_shot.events if event["event"] == "round"]
    assert curve[0]["bytes_total"] == only["bytes_total"] < one_shot.result.bytes_total  # then the model goes out
    assert {"clients", "synthesis", "fine-tuning", "test"} <= set(rounds.result.seconds)


def test_the_one_shot_model_is_trained_once_for_runs_that_begin_with_it(tmp_path: Path, generator: str) -> None:
    def one_shot(**changes: Any) -> tuple[bool, bytes]:
        run = read_run(served(small(tmp_path, "fgl", generator, **changes)))
        trained = any(event["event"] == "epoch" for event in run.events)
        reused = any(event["event"] == "one-shot-model" for event in run.events)
        assert trained != reused
        return reused, (run.path / "model.safetensors").read_bytes()

    first, weights = one_shot()
    assert not first
    assert one_shot() == (True, weights)
    assert one_shot(partition="iid") == (True, weights)  # the same prompts: other clients send them
    for changes in ({"seed": 1}, {"server_epochs": 2}, {"server_lr": 0.01}, {"norm": "batch"}):
        reused, other = one_shot(**changes)
        assert not reused
        assert other != weights
    for file in (tmp_path / "store-models").glob("*.safetensors"):
        file.write_bytes(b"damaged")
    assert one_shot() == (False, weights)


def test_the_control_that_knows_only_names_draws_every_class(tmp_path: Path, generator: str) -> None:
    found = read_run(served(small(tmp_path, "fgl", generator, prompt_level="names")))
    prompts = {sample["prompt"] for sample in found.samples if sample["kind"] == "synthetic"}
    assert len(prompts) == 10
    assert found.result is not None
    assert found.result.synthetic_images == 60


def test_the_same_configuration_gives_the_same_model(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator, fraction=0.5)
    first, second = (served(config) for _ in range(2))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_hostile_client_is_named_in_the_result(tmp_path: Path, generator: str) -> None:
    hostile = ClientApp()

    @hostile.query("prompts")
    def query(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1:
            return Message(encode(PromptPayload(1, (Prompt("x" * 10_000, "star"),))), reply_to=message)
        return client_app(message, context)

    config = small(tmp_path, "fgl", generator)
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        result = serve(InlineGrid(hostile, config.clients, config.to_flat()), config, folder)
    assert len(result.quarantined) == 1
    events = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    (quarantine,) = [event for event in events if event["event"] == "quarantine"]
    assert "10000 characters" in quarantine["reason"]


@pytest.mark.parametrize("method", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "moon"])
def test_where_a_few_are_asked_a_round_one_bad_client_ends_nothing(tmp_path: Path, method: str, generator: str) -> None:
    app, calls = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        calls.append(context.node_config["partition-id"])
        if len(calls) % 2:
            raise OSError("the disk is busy")
        return client_app(message, context)

    @app.query("model")
    def model(message: Message, context: Context) -> Message:
        return client_app(message, context)

    config = small(tmp_path, method, generator, fraction=0.34, rounds=4)
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)
    run = read_run(folder.path)
    assert len(calls) == 4
    assert sum(event["event"] == "failure" for event in run.events) == 2
    assert [event["round"] for event in run.events if event["event"] == "round"] == [0, 1, 2, 3, 4]


def test_rounds_in_which_every_client_asked_fails_end_the_run_soon(tmp_path: Path, generator: str) -> None:
    app, calls = ClientApp(), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        calls.append(1)
        raise OSError("no disk")

    config = small(tmp_path, "fedavg", generator, fraction=0.34, rounds=9)
    with (
        pytest.raises(RunError, match="in 3 rounds none that was asked"),
        RunFolder.create(config, observers=observers_of(config)) as folder,
    ):
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)
    assert len(calls) == 3


def served_by(app: ClientApp, config: RunConfig, engine: str) -> Run:
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder, engine=engine)
    return read_run(folder.path)


def test_a_simulation_shows_the_partition_that_it_made(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator, beta=0.1)
    counts = partition(load_source(config).private, config).counts().tolist()
    for engine in ("inline", "ray"):
        found = served_by(client_app, config, engine)
        assert found.partition is not None
        assert found.partition["counts"] == counts


def test_a_deployment_shows_what_its_clients_told_and_nothing_else(tmp_path: Path, generator: str) -> None:
    # Clients of their own data: what they hold has nothing to do with the server's data set.
    told = [{"star": 7, "ring": 2}, {"star": 900_000, "ring": 600_000}, {}]
    own = ClientApp()

    @own.query("prompts")
    def query(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        prompts = tuple(Prompt(f"a {name}", name, count=n) for name, n in told[number].items())
        return Message(encode(PromptPayload(number, prompts, told[number])), reply_to=message)

    @own.query("model")
    def model(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    config = small(tmp_path, "fgl", generator, max_client_examples=1000)
    found = served_by(own, config, "deployment")
    assert found.partition is not None
    star, ring = (found.partition["classes"].index(name) for name in ("star", "ring"))
    counts = np.array(found.partition["counts"])
    assert counts[:, [star, ring]].tolist() == [[7, 2], [600, 400], [0, 0]]  # scaled down to 1000
    assert counts.sum() == 7 + 2 + 1000


@pytest.mark.parametrize("changes", [{"method": "fedavg", "rounds": 1}, {"method": "fgl", "prompt_level": "names"}])
def test_a_deployment_whose_clients_told_no_counts_shows_no_partition(
    tmp_path: Path, generator: str, changes: dict[str, Any]
) -> None:
    config = small(tmp_path, generator=generator, **changes)
    found = served_by(client_app, config, "deployment")
    assert found.partition is None
    assert "by client and class" not in (found.path / "report.html").read_text(encoding="utf-8")


def test_clients_that_do_not_come_end_the_run(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator, clients=3, node_timeout=0.1)
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        server = Server(InlineGrid(client_app, 2, config.to_flat()), config, folder, Ledger(3))
        with pytest.raises(RunError, match="only 2 of 3 clients came"):
            wait_for_clients(server.grid, config, poll=0.01)


def test_a_run_that_begins_with_a_quorum_says_who_did_not_come(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator, clients=3, min_clients=2, node_timeout=0.1, rounds=1)
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        result = serve(InlineGrid(client_app, 2, config.to_flat()), config, folder)
    assert read_run(folder.path).result is not None
    assert result.clients == 3
    assert "2 of 3 clients came within node-timeout = 0.1 s: the run began without the others" in folder.warnings


def test_a_run_in_which_every_client_fails_is_marked_failed(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator)
    broken = {**config.to_flat(), "dataset": "folder:/nowhere"}
    with (
        pytest.raises(RunError, match="none of 3 clients"),
        RunFolder.create(config, observers=observers_of(config)) as folder,
    ):
        serve(InlineGrid(client_app, config.clients, broken), config, folder)
    assert read_run(folder.path).state == "failed"
