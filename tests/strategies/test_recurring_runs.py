"""Whole runs with recurring prompt rounds: a real client and server around a tiny pipeline of random weights."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.client_app import app as client_app
from fgl_flower.config import RunConfig
from fgl_flower.data.folders import DOMAINNET_DOMAINS
from fgl_flower.records.reading import Run, read_run
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload, Unchanged
from strategies.server_app import serve
from tests.pictures import put
from tests.tiny_models import save_text_to_image
from tests.whole_runs import small


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


def domainnet(root: Path, domain: str, name: str, label: int, count: int) -> None:
    """Add images of a class to the list of a domain."""
    for split, number in (("train", count), ("test", 1)):
        files = [f"{domain}/{name}/{split}-{i}.png" for i in range(number)]
        for i, file in enumerate(files):
            put(root / file, label + i)
        with (root / f"{domain}_{split}.txt").open("a", encoding="utf-8") as listing:
            listing.writelines(f"{file} {label}\n" for file in files)


def served(app: ClientApp, config: RunConfig) -> Run:
    with RunFolder.create(config) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)
    return read_run(folder.path)


def test_a_client_whose_folder_grew_sends_again_and_its_new_class_is_drawn(tmp_path: Path, generator: str) -> None:
    root = tmp_path / "domainnet"
    for domain in DOMAINNET_DOMAINS:
        for name, label in (("airplane", 1), ("clock", 73)):
            domainnet(root, domain, name, label, 4)
    growing = ClientApp()
    replies: dict[tuple[int, int], int] = {}

    @growing.query("prompts")
    def query(message: Message, context: Context) -> Message:
        number = int(message.content["config"]["server-round"])
        if number == 2 and not (root / "sketch" / "bracelet").exists():
            domainnet(root, "sketch", "bracelet", 39, 6)
        reply = client_app(message, context)
        replies[int(context.node_config["partition-id"]), number] = len(reply.content["payload"]["data"])
        return reply

    @growing.query("model")
    def model(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @growing.train()
    def train(message: Message, context: Context) -> Message:
        return client_app(message, context)

    run = served(
        growing,
        small(
            tmp_path,
            "fgl",
            generator,
            dataset=f"domainnet:{root}",
            clients=6,
            partition="domain",
            rounds=4,
            prompt_every=1,
            server_epochs=2,
        ),
    )
    events = {name: [e for e in run.events if e["event"] == name] for name in ("prompts", "synthesis", "round")}
    assert [(e["round"], e["sent"], e["unchanged"]) for e in events["prompts"]] == [
        (0, 6, 0),
        (1, 0, 6),
        (2, 1, 5),
        (3, 0, 6),
    ]
    sketch = DOMAINNET_DOMAINS.index("sketch")
    assert [i for i in range(6) if replies[i, 2] > replies[i, 1]] == [sketch]
    # Six images a class: of two classes at first, then of a third besides; the earlier ones lie in the store.
    assert [(e["planned"], e["reused"], e["drawn"]) for e in events["synthesis"]] == [(12, 0, 12), (18, 12, 6)]
    assert [e["round"] for e in events["round"]] == [0, 1, 2, 3, 4]
    epochs = [(e["round"], e["epoch"]) for e in run.events if e["event"] == "epoch" and e["phase"] == "server-training"]
    assert epochs == [(0, 1), (0, 2), (2, 1), (2, 2)]
    shown = Counter(sample["label"] for sample in run.samples if sample["kind"] == "synthetic")
    assert shown == {"airplane": 6, "clock": 6, "bracelet": 6}
    assert {s["client"] for s in run.samples if s["label"] == "bracelet"} == {str(sketch)}
    assert run.result is not None
    assert run.result.synthetic_images == 18
    assert not run.result.quarantined


def test_training_on_begins_with_the_global_model_and_reaches_the_clients(tmp_path: Path, generator: str) -> None:
    received: dict[int, list[ArrayRecord]] = {}
    changing = ClientApp()

    @changing.query("prompts")
    def query(message: Message, context: Context) -> Message:
        partition, number = int(context.node_config["partition-id"]), int(message.content["config"]["server-round"])
        prompts = (Prompt("a sketch of a star", "star", "sketch", 1 + number),)
        return Message(encode(PromptPayload(partition, prompts, {"star": 1})), reply_to=message)

    @changing.train()
    def train(message: Message, context: Context) -> Message:
        received.setdefault(int(message.content["config"]["server-round"]), []).append(
            message.content.array_records["arrays"]
        )
        return client_app(message, context)

    @changing.query("model")
    def model(message: Message, context: Context) -> Message:
        return client_app(message, context)

    def second(**changes: Any) -> np.ndarray:
        received.clear()
        run = served(changing, small(tmp_path, "fgl", generator, rounds=2, local_epochs=1, clients=2, **changes))
        assert run.state == "finished"
        assert len(received[2]) == 2
        return np.concatenate([array.numpy().ravel() for array in received[2][0].values()])

    once = second()
    tiny, plain = second(prompt_every=1, fine_tune_lr=1e-9), second(prompt_every=1)
    np.testing.assert_allclose(tiny, once, atol=1e-6)  # a rate of next to nothing: the global model as it was
    assert np.abs(plain - once).max() > 1e-4


def test_where_nothing_changes_the_run_is_the_same_and_asking_again_costs_little(
    tmp_path: Path, generator: str
) -> None:
    changes = {"rounds": 3, "fraction": 0.5, "clients": 4, "fine_tune_epochs": 1, "prompt_level": "class"}
    once = served(client_app, small(tmp_path, "fgl", generator, **changes))
    again = served(client_app, small(tmp_path, "fgl", generator, prompt_every=1, **changes))
    assert (once.path / "model.safetensors").read_bytes() == (again.path / "model.safetensors").read_bytes()
    figures = [[e["validation_accuracy"] for e in run.events if e["event"] == "round"] for run in (once, again)]
    assert figures[0] == figures[1]
    assert [(e["sent"], e["unchanged"]) for e in again.events if e["event"] == "prompts"] == [(4, 0), (0, 4), (0, 4)]
    assert sum(e["event"] == "synthesis" for e in again.events) == 1
    up, more = ({row["round"]: row["up"] for row in run.ledger["bytes_by_round"]} for run in (once, again))
    assert len(encode(Unchanged(3)).config_records["payload"]["data"]) < 64  # type: ignore[arg-type]
    # Flower wraps any record that a reply holds in some 370 bytes of names, ids and hashes.
    assert [(more[n] - up[n]) / 4 for n in range(4)] == [0, pytest.approx(440, abs=10), pytest.approx(440, abs=10), 0]


def test_of_a_client_that_was_shut_out_nothing_more_is_drawn(tmp_path: Path, generator: str) -> None:
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        partition, number = int(context.node_config["partition-id"]), int(message.content["config"]["server-round"])
        label = ("star", "moon")[partition]
        prompts = (Prompt(f"a sketch of a {label}", label, "sketch", 1 + number),)
        return Message(encode(PromptPayload(partition, prompts, {label: 1})), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1:
            return Message(RecordDict({"metrics": MetricRecord({"num-examples": -1})}), reply_to=message)
        return client_app(message, context)

    @app.query("model")
    def model(message: Message, context: Context) -> Message:
        return client_app(message, context)

    run = served(app, small(tmp_path, "fgl", generator, rounds=2, prompt_every=1, clients=2))
    assert [e["planned"] for e in run.events if e["event"] == "synthesis"] == [12, 6]
    assert {s["label"] for s in run.samples if s["kind"] == "synthetic"} == {"star"}
    assert run.result is not None
    assert list(run.result.quarantined) == ["1"]


def test_a_later_prompt_round_that_nobody_answers_ends_no_run(tmp_path: Path, generator: str) -> None:
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        if message.content["config"]["server-round"]:
            raise RuntimeError("the captioner is out of memory")
        return client_app(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return client_app(message, context)

    @app.query("model")
    def model(message: Message, context: Context) -> Message:
        return client_app(message, context)

    run = served(app, small(tmp_path, "fgl", generator, rounds=2, prompt_every=1, client_evaluation=False))
    assert run.state == "finished"
    assert [(e["round"], e["sent"]) for e in run.events if e["event"] == "prompts"] == [(0, 3), (1, 0)]
    failures = [e for e in run.events if e["event"] == "failure"]
    assert [(e["client"], e["round"]) for e in failures] == [("0", 1), ("1", 1), ("2", 1)]
    assert [e["round"] for e in run.events if e["event"] == "round"] == [0, 1, 2]
