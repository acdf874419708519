"""`selection = "clients"`: which model is kept, when the run ends, and what neither needs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.records.reading import read_run
from strategies.selection import ClientSelection, Enough
from strategies.transfer import Transfer
from tests.tiny_models import save_text_to_image
from tests.whole_runs import served, small

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


def said(right: int, total: int = 10) -> Transfer:
    return Transfer(("a",), np.array([right]), np.array([total]))


def offered(rights: list[int | None], patience: int) -> tuple[ClientSelection, int]:
    """Return the selection after rounds of which clients get so many of ten right (None: nobody answers)."""
    answers = iter(rights)

    def ask(arrays: ArrayRecord, number: int) -> Transfer:
        right = next(answers)
        return said(0, 0) if right is None else said(right)

    selection = ClientSelection(ask, patience, lambda event: None)
    for number in range(len(rights)):
        try:
            selection.offer(number, ArrayRecord())
        except Enough:
            return selection, number
    return selection, len(rights) - 1


@pytest.mark.parametrize(
    ("rights", "patience", "selected", "last"),
    [
        ([3, 5, 4, 6, 2], 0, 3, 4),
        ([3, 5, 5, 5], 0, 1, 3),  # the earlier of equals
        ([3, 5, 4, 4, 9], 2, 1, 3),
        ([3, 5, None, None, 9], 2, 4, 4),  # silence is no worse model
        ([None, 2, 1], 1, 1, 2),
        ([0, 0, 0], 2, 0, 2),
    ],
)
def test_the_best_model_is_kept_and_patience_ends(
    rights: list[int | None], patience: int, selected: int, last: int
) -> None:
    selection, ended = offered(rights, patience)
    assert (selection.round, ended) == (selected, last)


def test_of_a_model_that_is_known_clients_are_not_asked_again() -> None:
    def ask(arrays: ArrayRecord, number: int) -> Transfer:
        raise AssertionError("asked")

    selection = ClientSelection(ask, 0, lambda event: None)
    assert selection.offer(0, ArrayRecord(), said(7))
    assert selection.accuracy == 0.7


def test_the_final_model_is_the_one_that_clients_rate_best(tmp_path: Path) -> None:
    config = small(tmp_path, "fedavg", "miniature-fast", rounds=4, local_lr=0.3, selection="clients")
    run = read_run(served(config))
    assert run.result is not None
    heard = {e["round"]: e["client_accuracy"] for e in run.events if e["event"] == "selection"}
    assert sorted(heard) == [1, 2, 3, 4]
    assert run.result.client_accuracy == max(heard.values())
    assert run.result.selected_round == next(r for r, share in heard.items() if share == max(heard.values()))
    rounds = {e["round"]: e["validation_accuracy"] for e in run.events if e["event"] == "round"}
    assert run.result.validation_accuracy == rounds[run.result.selected_round]
    plain = read_run(served(config.model_copy(update={"selection": "validation", "name": "plain"})))
    assert plain.result is not None
    assert plain.result.selected_round is None
    assert run.result.bytes_down_per_client > 1.7 * plain.result.bytes_down_per_client  # each model once more
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert f"clients selected the model of round {run.result.selected_round}" in page


def test_patience_ends_the_rounds_and_the_run_is_whole(tmp_path: Path) -> None:
    run = read_run(
        served(small(tmp_path, "fedavg", "miniature-fast", rounds=30, local_lr=1e-9, selection="clients", patience=2))
    )
    assert run.result is not None
    assert max(e["round"] for e in run.events if e["event"] == "round") == 3  # the rate moves nothing: 1 is best
    assert run.result.selected_round == 1
    assert (run.path / "model.safetensors").exists()


def test_server_training_looks_at_no_validation_image(tmp_path: Path, generator: str) -> None:
    run = read_run(served(small(tmp_path, "fgl", generator, rounds=1, server_epochs=2, selection="clients")))
    assert run.result is not None
    epochs = [e for e in run.events if e["event"] == "epoch"]
    assert epochs
    assert all(epoch["validation_accuracy"] is None for epoch in epochs)
    asked = [e for e in run.events if e["event"] in {"transfer", "selection"}]
    assert [(e["event"], e["round"]) for e in asked] == [("transfer", 0), ("selection", 0), ("selection", 1)]
    transfer = run.result.transfer.values()
    one_shot = sum(c["right"] for c in transfer) / sum(c["total"] for c in transfer)
    assert asked[1]["client_accuracy"] == one_shot


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"method": "centralised"}, "centralised"),
        ({"method": "local", "rounds": 2}, "local"),
        ({"method": "fgl", "client-evaluation": False}, "client-evaluation"),
        ({"selection": "validation", "patience": 2}, "patience"),
    ],
)
def test_what_cannot_be_selected_is_refused(keys: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        RunConfig.parse({"selection": "clients", **keys})
