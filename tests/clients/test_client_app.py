"""The data owner's handlers: what they say is true, the same each time, and always an answer."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from clients.client_app import app
from clients.data import Client
from clients.prompting import prompt_payload
from clients.regularisers import contrastive, proximal
from clients.training import PREVIOUS, round_seed, train
from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import load_source
from fgl_flower.learning.building import build_model
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.arrays import load_arrays, to_arrays
from fgl_flower.wire.codec import decode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import PromptPayload

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {
    "method": "fedavg",
    "rounds": 1,
    "private_images": 120,
    "validation_images": 60,
    "test_images": 60,
    "clients": 3,
    "local_epochs": 1,
    "device": "cpu",
}


def configured(**changes: Any) -> RunConfig:
    return RunConfig(**{**SMALL, **changes})


def initial(config: RunConfig) -> ArrayRecord:
    return to_arrays(build_model(config.model, 10, config.norm, seed=0))


def instruction(config: RunConfig, **asked: Any) -> RecordDict:
    return RecordDict({"arrays": initial(config), "config": ConfigRecord({"server-round": 1, **asked})})


def ask(config: RunConfig, kind: str, content: RecordDict | None = None, **grid: Any) -> list[Message]:
    inline = InlineGrid(app, config.clients, {**config.to_flat(), **grid.pop("run_config", {})}, **grid)
    content = content or RecordDict({"config": ConfigRecord({"server-round": 0})})
    return list(inline.send_and_receive([Message(content, node, kind) for node in inline.get_node_ids()]))


def same(left: ArrayRecord, right: ArrayRecord) -> bool:
    return all(np.array_equal(left[k].numpy(), right[k].numpy()) for k in left)


def test_prompts_count_what_the_client_holds() -> None:
    config = configured(beta=0.1)
    source = load_source(config)
    shares = partition(source.private, config)
    for number, reply in enumerate(ask(config, "query.prompts")):
        payload = decode(reply.content, Limits(), source.classes, source.domains)
        assert isinstance(payload, PromptPayload)
        share = shares.load(number)
        truth = Counter(zip(share["label"], share["domain"], strict=True))
        assert {(p.label, p.domain): p.count for p in payload.prompts} == {
            (source.classes[label], source.domains[domain]): n for (label, domain), n in truth.items()
        }
        assert sum(payload.class_counts.values()) == len(share)
        assert payload.partition_id == number
        assert all(p.text == f"a {p.domain} of a {p.label}" for p in payload.prompts)


def test_levels_say_less_and_less() -> None:
    styled, plain, names = (
        prompt_payload(Client(0, configured(prompt_level=level))) for level in ("class-style", "class", "names")
    )
    assert len(styled.prompts) > len(plain.prompts) > len(names.prompts) == 0
    assert {p.text for p in plain.prompts} == set(plain.class_counts)
    assert sum(p.count for p in plain.prompts) == sum(p.count for p in styled.prompts)
    assert names.class_counts == {}


def test_training_is_repeatable_and_differs_by_round_and_client() -> None:
    config = configured()

    def run(number: int, server_round: int) -> ArrayRecord:
        content = instruction(config)
        content["config"]["server-round"] = server_round  # type: ignore[index]
        return train(Client(number, config), content, RecordDict()).array_records["arrays"]

    first = run(0, 1)
    assert same(first, run(0, 1))
    assert not same(first, run(0, 2))
    assert not same(first, run(1, 1))
    assert not same(first, initial(config))
    assert len({round_seed(s, p, r) for s in range(5) for p in range(5) for r in range(5)}) == 125


def test_a_client_without_images_still_answers() -> None:
    config = configured(clients=60, beta=0.01)
    shares = partition(load_source(config).private, config)
    empty = [i for i in range(config.clients) if len(shares.load(i)) == 0]
    assert empty, "this skew should leave some client empty"
    client, content = Client(empty[0], config), instruction(config)
    assert prompt_payload(client) == PromptPayload(empty[0])
    reply = train(client, content, RecordDict())
    assert reply["metrics"]["num-examples"] == 0
    assert same(reply.array_records["arrays"], content.array_records["arrays"])
    measured = ask(config, "evaluate", content)[empty[0]]
    assert measured.content["metrics"]["num-examples"] == 0


def test_evaluation_reports_accuracy_and_size() -> None:
    config = configured()
    replies = ask(config, "evaluate", instruction(config))
    assert sum(int(r.content["metrics"]["num-examples"]) for r in replies) == 120
    assert all(0 <= r.content["metrics"]["accuracy"] <= 1 for r in replies)


@pytest.mark.parametrize("kind", ["query.prompts", "train", "evaluate"])
def test_a_failure_is_an_answer_of_one_line(kind: str) -> None:
    for reply in ask(configured(), kind, run_config={"rounds": -1}):
        assert reply.has_error()
        assert reply.error.reason is not None
        assert reply.error.reason.startswith("ConfigError: rounds = -1 is refused")
        assert "Traceback" not in reply.error.reason


def test_a_failure_names_no_file_of_the_data_owners(tmp_path: Path) -> None:
    root = tmp_path / "alice" / "patients" / "Ada Lovelace"
    (root / "test" / "cat").mkdir(parents=True)
    config = RunConfig(dataset=f"folder:{root}", method="fedavg", rounds=1, clients=1, partition="iid")
    arrays = to_arrays(build_model(config.model, 2, config.norm, seed=0))
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})})
    (reply,) = ask(config, "train", content)
    told = reply.error.reason or ""
    assert "training images are missing" in told
    assert not any(word in told for word in ("alice", "patients", "Ada", "Lovelace", "/"))


def test_a_partition_out_of_range_is_named() -> None:
    reply = ask(configured(), "query.prompts", node_configs={0: {"partition-id": 9}})[0]
    assert "partition-id = 9 in the node config must be 0 to 2" in (reply.error.reason or "")


def test_foreign_arrays_are_refused_by_the_client() -> None:
    config = configured()
    content = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord({"server-round": 1})})
    assert all("not this model's" in (r.error.reason or "") for r in ask(config, "train", content))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_arrays_survive_the_round_trip_without_counters(norm: str) -> None:
    model, other = (build_model("small-resnet", 10, norm, seed=seed) for seed in (1, 2))
    arrays = to_arrays(model)
    assert not any("num_batches_tracked" in name for name in arrays)
    load_arrays(other, arrays)
    assert same(to_arrays(other), arrays)  # fresh statistics are 0 and 1: exact
    assert all(array.dtype == "float32" for array in arrays.values())


@pytest.mark.parametrize("weights", [(1, 1), (3, 1)])
def test_a_mean_of_arrays_pools_batch_statistics_as_if_the_images_lay_in_one_place(weights: tuple[int, int]) -> None:
    models = [build_model("small-resnet", 10, "batch", seed=0) for _ in weights]
    values = [torch.randn(w * 4000, 16) + shift for w, shift in zip(weights, (-2.0, 3.0), strict=True)]
    for model, own in zip(models, values, strict=True):
        norm = model.backbone.norm
        norm.running_mean, norm.running_var = own.mean(0), own.var(0, correction=0)
    records = [to_arrays(model) for model in models]
    mean = {
        name: np.average([record[name].numpy() for record in records], axis=0, weights=weights) for name in records[0]
    }
    pooled = build_model("small-resnet", 10, "batch", seed=1)
    load_arrays(pooled, ArrayRecord({name: Array(a.astype(np.float32)) for name, a in mean.items()}))
    together = torch.cat(values)
    torch.testing.assert_close(pooled.backbone.norm.running_mean, together.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled.backbone.norm.running_var, together.var(0, correction=0), atol=1e-3, rtol=1e-3)


def test_the_proximal_term_is_half_mu_times_the_squared_distance() -> None:
    model = build_model("small-resnet", 10, seed=0)
    term = proximal(model, mu=0.5)
    nothing = torch.empty(0)
    assert term(model, nothing, nothing).item() == 0
    count = sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert term(model, nothing, nothing).item() == pytest.approx(0.5 / 2 * 0.01 * count, rel=1e-3)


def test_a_strong_proximal_term_keeps_the_client_near_the_global_model() -> None:
    config = configured(batch_size=4)  # several steps: at the first one the term has no slope

    def distance(**asked: Any) -> float:
        content = instruction(config, **asked)
        arrays = train(Client(0, config), content, RecordDict()).array_records["arrays"]
        start = content.array_records["arrays"]
        return sum(float(np.square(arrays[k].numpy() - start[k].numpy()).sum()) for k in arrays)

    assert distance(**{"proximal-mu": 10.0}) < distance(**{"proximal-mu": 0.0})


def test_the_contrastive_term_is_the_papers() -> None:
    batch = torch.randn(4, 3, 32, 32)
    models = [build_model("small-resnet", 10, seed=seed).eval() for seed in range(3)]
    own, glob, previous = (model.features(batch).detach() for model in models)
    near, far = (torch.nn.functional.cosine_similarity(own, other) / 0.5 for other in (glob, previous))
    expected = -torch.log(near.exp() / (near.exp() + far.exp())).mean() * 2.0
    term = contrastive(models[1], models[2], mu=2.0, temperature=0.5)
    assert term(models[0], batch, own).item() == pytest.approx(expected.item(), rel=1e-5)


def test_moon_keeps_the_previous_model_at_the_client() -> None:
    config, state = configured(), RecordDict()
    asked = {"moon-mu": 1.0, "moon-temperature": 0.5}
    first = train(Client(0, config), instruction(config, **asked), state).array_records["arrays"]
    assert same(state.array_records[PREVIOUS], first)
    with_memory = train(Client(0, config), instruction(config, **asked), state).array_records["arrays"]
    assert not same(with_memory, first)  # same round, same start: the term alone makes the difference
