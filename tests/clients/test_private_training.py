"""Under dp-epsilon a client answers rounds with models of DP-SGD, no more than promised, and tells nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from clients.client_app import app
from clients.data import Client
from clients.private import guarantee_of
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.learning.building import build_model
from fgl_flower.privacy.accountant import Mechanism, epsilon_of
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.arrays import to_arrays

CONFIG = RunConfig(
    method="fedavg",
    rounds=2,
    local_epochs=1,
    private_images=40,
    clients=2,
    partition="iid",
    batch_size=10,
    dp_epsilon=4.0,
    device="cpu",
)


def ask(grid: InlineGrid, server_round: int, kind: str = "train", **settings: Any) -> Message:
    arrays = to_arrays(build_model(CONFIG.model, 10, CONFIG.norm, seed=0))
    records = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": server_round, **settings})})
    [reply] = grid.send_and_receive([Message(records, next(iter(grid.get_node_ids())), kind)])
    return reply


def test_a_reply_tells_the_model_and_no_number_of_the_images() -> None:
    reply = ask(InlineGrid(app, 2, CONFIG.to_flat()), 1)
    metrics: Any = reply.content["metrics"]
    assert dict(metrics) == {"num-examples": 1, "partition-id": 0}


def test_each_round_is_answered_once_and_no_more_than_the_promise_covers() -> None:
    grid = InlineGrid(app, 2, CONFIG.to_flat())
    errors = [ask(grid, number).has_error() for number in (1, 1, 2, 3)]
    assert errors == [False, True, False, True]
    assert "privacy budget for models is spent" in str(ask(grid, 4).error.reason)


@pytest.mark.parametrize(("kind", "what"), [("query.prompts", "prompts"), ("evaluate.by_class", "evaluation")])
def test_what_the_promise_does_not_cover_is_refused(kind: str, what: str) -> None:
    reply = ask(InlineGrid(app, 2, CONFIG.to_flat()), 1, kind)
    assert f"has none for {what}" in str(reply.error.reason)


def test_a_term_of_the_loss_is_refused() -> None:
    assert "proximal-mu" in str(ask(InlineGrid(app, 2, CONFIG.to_flat()), 1, **{"proximal-mu": 0.1}).error.reason)


def test_the_promise_counts_every_step_of_every_round_at_a_rate_that_no_client_changes() -> None:
    promises = [guarantee_of(Client(number, CONFIG.model_copy(update={"beta": 0.1}))) for number in (0, 1)]
    assert promises[0] == promises[1]
    promise = promises[0]
    assert promise is not None
    [release] = promise.made
    assert (release.rate, release.times) == (10 * 2 / 40, 2 * 2)  # an image takes part once a round: two steps of 1/2
    assert promise.spent == pytest.approx(epsilon_of({Mechanism(promise.noise, 0.5, True): 4}, promise.delta))
    assert 0.99 * 4 < promise.spent <= 4


def test_the_owners_budget_counts_the_steps_and_ends_them(tmp_path: Path) -> None:
    rules, spent = tmp_path / "rules.toml", tmp_path / "spent.jsonl"
    promise = guarantee_of(Client(0, CONFIG))
    assert promise is not None
    one_round = epsilon_of({Mechanism(promise.noise, 0.5, True): 2}, promise.delta)
    rules.write_text(f'epsilon = {1.01 * one_round}\ndelta = {promise.delta}\nspent = "{spent}"\n')
    grid = InlineGrid(app, 2, CONFIG.to_flat(), {0: {"policy": str(rules)}})
    assert not ask(grid, 1).has_error()
    assert "the owner's privacy budget is spent" in str(ask(grid, 2).error.reason)
    [line] = map(json.loads, spent.read_text().splitlines())
    assert (line["releases"], line["rate"], line["continuous"]) == (2, 0.5, True)
    assert line["epsilon"] == pytest.approx(one_round)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "fedprox"}, "dp-epsilon does not go with method = 'fedprox'"),
        ({"method": "local"}, "does not go with method = 'local'"),
        ({"norm": "batch"}, "use norm = 'group'"),
        ({"selection": "clients"}, "selection = 'validation'"),
        ({"precision": "bfloat16"}, "set precision"),
    ],
)
def test_what_cannot_keep_the_promise_is_refused_before_a_run(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RunConfig.parse({**CONFIG.to_flat(), **changes})
