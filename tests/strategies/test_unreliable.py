"""Simulated absence: as often as asked for, the same in every engine, and no reason to end a run."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from clients.client_app import app as deployed
from clients.client_app import simulated
from clients.unreliable import absence
from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.records.reading import read_run
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.simulation import InlineGrid
from strategies.federated import strategy_of
from strategies.server_app import serve
from tests.whole_runs import small

AWAY, LATE = "simulated: away in this round", "simulated: no answer within 60 s"


InlineGrid(simulated, 1, {})  # gives the process an identity, without which Flower makes no message


@lru_cache
def message(kind: str, server_round: int) -> Message:
    return Message(RecordDict({"config": ConfigRecord({"server-round": server_round})}), 1, kind)


@lru_cache
def flat(**keys: Any) -> dict[str, Any]:
    return RunConfig(clients=1000, round_timeout=60, **keys).to_flat()


def why(kind: str, partition: int, server_round: int, **keys: Any) -> str:
    return absence(message(kind, server_round), partition, flat(**keys))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_clients_are_away_as_often_as_asked_for_each_round_anew(share: float) -> None:
    away = np.array([[bool(why("train", p, r, dropout=share)) for p in range(200)] for r in range(20)])
    assert away.mean() == pytest.approx(share, abs=0.02)  # of 4,000 draws: 2.5 standard deviations at a half
    by_round = away.sum(1)
    assert len(set(by_round.tolist())) > 3
    assert not away.all(0).any(), "clients come and go"


def test_a_client_is_away_for_all_questions_of_a_round_but_takes_the_final_model() -> None:
    for partition in range(50):
        kinds = ("train", "evaluate", "query.prompts", "evaluate.by_class")
        assert len({why(kind, partition, 3, dropout=0.5) for kind in kinds}) == 1
        assert why("query.model", partition, 3, dropout=0.99) == ""


def test_answers_take_as_long_as_an_exponential_distribution_says() -> None:
    late = [why("train", p, 1, straggler_seconds=30.0) == LATE for p in range(4000)]
    assert np.mean(late) == pytest.approx(np.exp(-60 / 30), abs=0.02)
    prompts = [
        why("query.prompts", p, 0, straggler_seconds=30.0, prompt_timeout=15.0) == "simulated: no answer within 15 s"
        for p in range(4000)
    ]
    assert np.mean(prompts) == pytest.approx(np.exp(-15 / 30), abs=0.03)


def test_another_seed_makes_others_stay_away() -> None:
    first, second = ([bool(why("train", p, 1, dropout=0.5, seed=seed)) for p in range(100)] for seed in (0, 1))
    assert first != second


def run(config: RunConfig, app: Any = simulated, engine: str = "inline") -> Any:
    with RunFolder.create(config) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder, engine=engine)
    return read_run(folder.path)


def test_a_run_goes_on_with_who_is_there_and_names_who_was_not(tmp_path: Path, tiny_checkpoint: Path) -> None:
    config = small(tmp_path, "fedavg", str(tiny_checkpoint), clients=4, rounds=6, dropout=0.5, partition="iid")
    found = run(config)
    told = config.to_flat()
    expected = {str(p): [r for r in range(1, 7) if absence(message("train", r), p, told)] for p in range(4)}
    assert {one.client: one.rounds for one in found.result.failures} == {p: r for p, r in expected.items() if r}
    assert {one.reason for one in found.result.failures} == {AWAY}
    assert not (found.path / "clients.log").exists(), "nothing went wrong"
    up = {name: split["up"] for name, split in found.ledger["bytes_by_client"].items()}
    trained = {name: 6 - len(rounds) for name, rounds in expected.items()}
    one = max(up.values()) / max(trained.values())
    assert all(up[name] == pytest.approx(one * count, rel=0.01) for name, count in trained.items())


def test_a_round_without_anyone_is_passed_over_and_three_in_a_row_are_too_many(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    plain = small(tmp_path, "fedavg", str(tiny_checkpoint)).to_flat()

    def nobody(seed: int, share: float) -> list[bool]:
        keys = {**plain, "seed": seed, "dropout": share}
        return [all(absence(message("train", r), p, keys) for p in range(2)) for r in range(1, 5)]

    lonely = next(seed for seed in range(1000) if nobody(seed, 0.5) == [False, True, False, False])
    few = {"clients": 2, "rounds": 4, "partition": "iid"}
    config = small(tmp_path, "fedavg", str(tiny_checkpoint), seed=lonely, dropout=0.5, **few)
    found = run(config)
    assert found.result.rounds == 4
    assert found.result.failures

    never = small(tmp_path, "fedavg", str(tiny_checkpoint), dropout=0.999, **few)
    with pytest.raises(RunError, match="usable reply"):
        run(never)


def test_who_missed_the_prompt_round_is_asked_again_where_it_recurs(tmp_path: Path, tiny_checkpoint: Path) -> None:
    plain = small(tmp_path, "fgl", str(tiny_checkpoint)).to_flat()
    keys = {"clients": 3, "rounds": 3, "partition": "iid", "prompt_every": 1, "client_evaluation": False}

    def away(seed: int, server_round: int) -> list[int]:
        told = {**plain, "seed": seed, "dropout": 0.3}
        return [p for p in range(3) if absence(message("train", server_round), p, told)]

    seed = next(s for s in range(1000) if len(away(s, 0)) == 1 and not away(s, 1) and not away(s, 2))
    found = run(small(tmp_path, "fgl", str(tiny_checkpoint), seed=seed, dropout=0.3, **keys))
    events = [event for event in found.events if event["event"] == "prompts"]
    assert [event["sent"] for event in events][:2] == [2, 1], "two at first, and then the one that was away"


def test_nodes_of_a_deployment_are_as_they_are(tmp_path: Path, tiny_checkpoint: Path) -> None:
    config = small(tmp_path, "fedavg", str(tiny_checkpoint), rounds=2, dropout=0.9)
    found = run(config, deployed, "deployment")
    assert found.result.failures == []
    assert any("simulated by fgl run alone" in warning for warning in found.result.warnings)


@pytest.mark.parametrize(("fraction", "clients", "count"), [(0.29, 100, 29), (0.57, 100, 57), (0.1, 5, 1), (1.0, 7, 7)])
def test_a_share_of_the_clients_is_as_many_as_it_says(fraction: float, clients: int, count: int) -> None:
    strategy: Any = strategy_of("fedavg", RunConfig(fraction=fraction, clients=clients))
    assert max(int(clients * strategy.fraction_train), strategy.min_train_nodes) == count
