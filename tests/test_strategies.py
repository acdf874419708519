"""What every strategy must keep to, and what each one computes, against sums done by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy

from clients.client_app import app as client_app
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.errors import RunError
from fgl_flower.ledger import Ledger
from fgl_flower.payload import Prompt, PromptPayload, encode
from fgl_flower.reading import Run, read_run
from fgl_flower.runs import RunFolder
from fgl_flower.simulation import InlineGrid
from strategies.federated import STRATEGIES
from strategies.fgl import FGL
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from strategies.local import Local
from strategies.server import Server
from strategies.server_app import METHODS, serve
from tests.tiny_models import save_text_to_image

CLIENTS = 4
SHAPES = {"w": (2, 3), "b": ()}
CONFIG = RunConfig(method="fedavg", rounds=1)


def filled(value: float) -> ArrayRecord:
    return ArrayRecord({k: Array(np.full(shape, value, np.float32)) for k, shape in SHAPES.items()})


def toy_app(seen: list[dict[str, Any]]) -> ClientApp:
    """Return clients that add 1 + partition to every weight; client i holds i + 1 examples."""
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        seen.append({"kind": "prompts", "round": message.content["config"]["server-round"]})
        payload = PromptPayload(number, (Prompt("a star", "star", count=number + 1),), {"star": number + 1})
        return Message(encode(payload), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])
        seen.append({"kind": "train", **message.content["config"]})
        arrays = message.content.array_records["arrays"]
        own = ArrayRecord({k: Array(np.asarray(a.numpy() + np.float32(1 + number))) for k, a in arrays.items()})
        metrics = MetricRecord({"num-examples": number + 1, "partition-id": number, "loss": 1.0})
        return Message(RecordDict({"arrays": own, "metrics": metrics}), reply_to=message)

    return app


def run(strategy: Strategy, rounds: int) -> tuple[ArrayRecord, list[dict[str, Any]], list[int]]:
    """Return the final arrays, what the clients were asked, and the rounds that were evaluated."""
    seen: list[dict[str, Any]] = []
    evaluated: list[int] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        evaluated.append(server_round)
        return MetricRecord({"round": server_round})

    inline = InlineGrid(toy_app(seen), CLIENTS, {})
    grid = GuardedGrid(inline, Gate(filled(0), CLIENTS, ("star",)), Ledger(CLIENTS), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=rounds, evaluate_fn=evaluate)
    return result.arrays, seen, evaluated


class Conformance:
    """Inherited by the tests of every strategy."""

    prompt_rounds = 0

    def build(self) -> Strategy:
        raise AssertionError("each suite builds its own strategy")

    def test_each_round_asks_every_client_once(self) -> None:
        _, seen, evaluated = run(self.build(), self.prompt_rounds + 2)
        trained = [s for s in seen if s["kind"] == "train"]
        assert [s["server-round"] for s in trained] == [1] * CLIENTS + [2] * CLIENTS
        assert evaluated == list(range(self.prompt_rounds + 3))

    def test_the_model_keeps_names_shapes_and_dtypes(self) -> None:
        arrays, _, _ = run(self.build(), self.prompt_rounds + 2)
        for name, array in arrays.items():
            assert (array.dtype, tuple(array.shape)) == ("float32", SHAPES[name])
            assert np.isfinite(array.numpy()).all()

    def test_it_is_repeatable(self) -> None:
        first, second = (run(self.build(), self.prompt_rounds + 2)[0] for _ in range(2))
        assert first == second

    def test_a_round_without_replies_changes_nothing(self) -> None:
        strategy = self.build()
        grid = InlineGrid(toy_app([]), CLIENTS, {})
        server_round = self.prompt_rounds + 1
        list(strategy.configure_train(server_round, filled(0), ConfigRecord(), grid))
        assert strategy.aggregate_train(server_round, []) == (None, None)

    def test_it_says_what_it_is(self) -> None:
        self.build().summary()


@pytest.mark.parametrize("name", STRATEGIES)
class TestFederated(Conformance):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return STRATEGIES[self.name](CONFIG)


@pytest.mark.parametrize("name", STRATEGIES)
class TestWrapped(Conformance):
    prompt_rounds = 1

    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name

    def build(self) -> Strategy:
        return FGL(STRATEGIES[self.name](CONFIG), lambda payloads: filled(7), classes=("star",))

    def test_after_the_prompt_round_it_goes_on_as_the_wrapped_strategy_would(self) -> None:
        generative = FGL(STRATEGIES[self.name](CONFIG), lambda payloads: filled(0), classes=("star",))
        assert run(generative, 3)[0] == run(STRATEGIES[self.name](CONFIG), 2)[0]


class TestLocal(Conformance):
    def build(self) -> Strategy:
        return Local()

    def test_each_client_goes_on_from_its_own_model(self) -> None:
        strategy = Local()
        shared, _, _ = run(strategy, 3)
        assert len(shared) == 0
        values = sorted(float(arrays["b"].numpy()) for arrays in strategy.models.values())
        assert values == [3 * (1 + i) for i in range(CLIENTS)]  # 1 + i, three times


def test_fedavg_is_the_mean_weighted_by_examples() -> None:
    arrays, _, _ = run(STRATEGIES["fedavg"](CONFIG), 1)
    # Client i adds 1 + i and holds 1 + i examples: (1*1 + 2*2 + 3*3 + 4*4) / (1 + 2 + 3 + 4) = 30 / 10.
    np.testing.assert_allclose(arrays["w"].numpy(), 3.0)


def test_fedavgm_adds_momentum() -> None:
    arrays, _, _ = run(STRATEGIES["fedavgm"](RunConfig(method="fedavgm", rounds=1, server_momentum=0.5)), 2)
    # Each round's step is 3; the second one adds half of the first: 3 + (0.5 * 3 + 3) = 7.5.
    np.testing.assert_allclose(arrays["w"].numpy(), 7.5)


def test_baselines_tell_clients_their_settings() -> None:
    for name, expected in (("fedprox", {"proximal-mu": 0.01}), ("moon", {"moon-mu": 1.0, "moon-temperature": 0.5})):
        _, seen, _ = run(STRATEGIES[name](CONFIG), 1)
        assert all(expected.items() <= s.items() for s in seen)


def test_the_prompt_round_gives_the_server_every_payload_and_clients_nothing() -> None:
    received: list[Sequence[PromptPayload]] = []

    def learn(payloads: Sequence[PromptPayload]) -> ArrayRecord:
        received.append(payloads)
        return filled(7)

    arrays, seen, _ = run(FGL(FedAvg(fraction_evaluate=0.0), learn, classes=("star",)), 1)
    assert arrays == filled(7)
    assert seen == [{"kind": "prompts", "round": 0}] * CLIENTS
    assert [payload.partition for payload in received[0]] == list(range(CLIENTS))


def test_fine_tuning_follows_every_aggregation() -> None:
    rounds: list[int] = []

    def fine_tune(server_round: int, arrays: ArrayRecord) -> ArrayRecord:
        rounds.append(server_round)
        return filled(100 * server_round)

    strategy = FGL(FedAvg(fraction_evaluate=0.0), lambda payloads: filled(0), fine_tune, classes=("star",))
    arrays, _, _ = run(strategy, 3)
    assert rounds == [1, 2]
    assert arrays == filled(200)


def test_server_momentum_steps_from_the_fine_tuned_model() -> None:
    momentum = STRATEGIES["fedavgm"](RunConfig(method="fedavgm", rounds=1, server_momentum=0.5))
    tuned = {1: filled(100)}
    strategy = FGL(momentum, lambda payloads: filled(0), lambda n, arrays: tuned.get(n, arrays), classes=("star",))
    arrays, _, _ = run(strategy, 3)
    # The clients' mean step is 3 in both rounds: 100 + (0.5 * 3 + 3) = 104.5.
    np.testing.assert_allclose(arrays["w"].numpy(), 104.5)


# --- whole runs, with a tiny random-weight pipeline ---


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


def small(tmp_path: Path, method: str, generator: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "method": method,
        "rounds": 0 if method in {"fgl", "mixed", *METHODS_WITHOUT_CLIENTS} else 2,
        "runs_dir": str(tmp_path),
        "private_images": 120,
        "validation_images": 60,
        "test_images": 60,
        "clients": 3,
        "local_epochs": 1,
        "server_epochs": 1,
        "images_per_class": 6,
        "generator": generator,
        "device": "cpu",
    }
    return RunConfig(**{**values, **changes})


def served(config: RunConfig) -> Path:
    with RunFolder.create(config) as folder:
        serve(InlineGrid(client_app, config.clients, config.to_flat()), config, folder)
    return folder.path


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_from_end_to_end(tmp_path: Path, method: str, generator: str) -> None:
    config = small(tmp_path, method, generator)
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
    assert (found.result.bytes_total > 0) == (method not in {"local", "centralised"})
    assert (found.path / "model.safetensors").exists() == (method != "local")
    assert {sample["kind"] for sample in found.samples} == (
        {"synthetic", "validation"} if method in {"fgl", "mixed"} else {"validation"}
    )


def test_generative_learning_with_rounds_and_fine_tuning(tmp_path: Path, generator: str) -> None:
    one_shot = read_run(served(small(tmp_path, "fgl", generator)))
    config = small(tmp_path, "fgl", generator, rounds=2, fine_tune_epochs=1)
    rounds = read_run(served(config))
    assert one_shot.result is not None
    assert rounds.result is not None
    assert one_shot.result.bytes_up_per_client <= 1024
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
    with RunFolder.create(config) as folder:
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
    with RunFolder.create(config) as folder:
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
        RunFolder.create(config) as folder,
    ):
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)
    assert len(calls) == 3


def served_by(app: ClientApp, config: RunConfig, engine: str) -> Run:
    with RunFolder.create(config, engine=engine) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)
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
    with RunFolder.create(config) as folder:
        server = Server(InlineGrid(client_app, 2, config.to_flat()), config, folder, Ledger(3))
        with pytest.raises(RunError, match="only 2 of 3 clients came"):
            server.wait_for_clients(poll=0.01)


def test_a_run_in_which_every_client_fails_is_marked_failed(tmp_path: Path, generator: str) -> None:
    config = small(tmp_path, "fedavg", generator)
    broken = {**config.to_flat(), "dataset": "folder:/nowhere"}
    with pytest.raises(RunError, match="none of 3 clients"), RunFolder.create(config) as folder:
        serve(InlineGrid(client_app, config.clients, broken), config, folder)
    assert read_run(folder.path).state == "failed"
