"""A training that diverged is told in the result; one that is merely bad is not."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fgl_flower.learning import training
from fgl_flower.learning.building import build_model
from fgl_flower.records.reading import read_run
from strategies.divergence import diverged
from tests.halves import SETTINGS, halves
from tests.whole_runs import served, small

GUESSING = "guessing has 2.30"  # ln 10


@pytest.mark.parametrize(
    ("loss", "classes", "expected"),
    [
        (math.log(10), 10, False),
        (2.8, 10, False),  # 1.25 x 2.30 = 2.88
        (2.9, 10, True),
        (2.9, 100, False),
        (0.9, 2, True),
        (0.0, 1, False),
        (math.nan, 10, True),
        (math.inf, 10, True),
    ],
)
def test_a_loss_above_that_of_guessing_has_diverged(loss: float, classes: int, expected: bool) -> None:
    assert diverged(loss, classes) is expected


@pytest.mark.parametrize(
    ("method", "changes", "parts"),
    [
        ("centralised", {"server_lr": 1e6, "server_epochs": 3}, ("server training diverged", "lower server-lr")),
        ("centralised", {"server_lr": 1e30, "server_epochs": 1}, ("training diverged", "lower server-lr")),
        ("fedavg", {"local_lr": 1e6}, ("the clients' training diverged", "lower local-lr")),
        ("local", {"local_lr": 1e6}, ("the clients' training diverged", "lower local-lr")),
        ("fedadam", {"adaptive_lr": 1e3, "rounds": 1}, ("training diverged", "lower local-lr or adaptive-lr")),
        ("fedavg", {}, None),
        ("centralised", {}, None),
    ],
)
def test_a_run_whose_training_diverged_says_so(
    tmp_path: Path, method: str, changes: dict[str, Any], parts: tuple[str, str] | None
) -> None:
    run = read_run(served(small(tmp_path, method, "miniature-fast", **changes)))
    assert run.result is not None
    told = [event["text"] for event in run.events if event["event"] == "warning"]
    assert run.result.warnings == told
    if parts is None:
        assert told == []
    else:
        [sentence] = told
        assert all(part in sentence for part in (*parts, GUESSING)), sentence


def test_fine_tuning_that_diverges_is_told_once_and_names_its_rate(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"rounds": 2, "fine_tune_epochs": 2, "fine_tune_lr": 1e6}
    run = read_run(served(small(tmp_path, "fgl", "miniature-fast", **changes)))
    assert run.result is not None
    fine_tuning = [sentence for sentence in run.result.warnings if sentence.startswith("fine-tuning diverged")]
    assert len(fine_tuning) == 1
    assert "lower fine-tune-lr" in fine_tuning[0]


def test_a_one_shot_model_that_diverged_is_told_again_by_the_next_run(tmp_path: Path) -> None:
    for _ in range(2):
        run = read_run(served(small(tmp_path, "fgl", "miniature-fast", server_lr=1e30, server_epochs=2)))
        assert run.result is not None
        assert "lower server-lr" in run.result.warnings[0]


def test_weights_that_are_not_finite_are_never_kept_over_those_of_an_earlier_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every validation image is of class 0, which is what argmax makes of NaN: broken weights look perfect."""
    model, epochs = build_model("small-resnet", 2, seed=0), []

    def break_down(done: training.Epoch) -> None:
        epochs.append(done.validation_accuracy)
        if done.epoch == 1:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.fill_(math.nan)

    images, zeros = halves(32), halves(32)
    zeros.labels.zero_()
    training.train(model, images, epochs=2, validation=zeros, progress=break_down, **SETTINGS)
    assert epochs[1] == 1.0
    assert all(value.isfinite().all() for value in model.state_dict().values())
