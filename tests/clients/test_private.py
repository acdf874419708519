"""Under dp-epsilon a client tells noisy counts, once a run, and nothing else of its images."""

from collections.abc import Mapping
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from clients import private
from clients.client_app import app
from clients.data import Client
from clients.prompting import prompt_payload
from fgl_flower.config import RunConfig
from fgl_flower.data.world import CLASSES, STYLES
from fgl_flower.errors import ConfigError
from fgl_flower.learning.building import build_model
from fgl_flower.preflight import preflight
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.arrays import to_arrays

CONFIG = RunConfig(private_images=400, clients=2, beta=0.1, dp_epsilon=1.0, device="cpu")


def ask(grid: InlineGrid, kind: str, content: Mapping[str, Any] | None = None, **question: Any) -> Message:
    records = {"config": ConfigRecord({"server-round": 0, **question}), **(content or {})}
    [reply] = grid.send_and_receive([Message(RecordDict(records), next(iter(grid.get_node_ids())), kind)])
    return reply


def model() -> dict[str, Any]:
    return {"arrays": to_arrays(build_model(CONFIG.model, 10, CONFIG.norm, seed=0))}


def test_without_noise_it_tells_what_class_and_style_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "noised", lambda counts, deviation: list(counts))
    monkeypatch.setattr("fgl_flower.privacy.guarantee.Guarantee.threshold", lambda self, counts: 1)
    plain = prompt_payload(Client(0, CONFIG.model_copy(update={"dp_epsilon": 0.0})))
    told = prompt_payload(Client(0, CONFIG))
    assert (told.prompts, told.class_counts) == (plain.prompts, plain.class_counts)


def test_every_class_and_style_gets_noise_whether_the_client_holds_it_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(private, "noised", lambda counts, deviation: seen.append(list(counts)) or [9999] * len(counts))
    payload = prompt_payload(Client(0, CONFIG))
    assert len(payload.prompts) == len(CLASSES) * (len(STYLES) + 1)
    assert 0 in seen[0]  # classes that it does not hold
    assert payload.class_counts == dict.fromkeys(sorted(CLASSES), 9999 * (len(STYLES) + 1))
    assert (payload.skipped, payload.held_back, payload.seconds) == (0, 0, 0)


def test_counts_that_noise_alone_gives_are_left_out() -> None:
    promise = private.guarantee_of(Client(0, CONFIG))
    assert promise is not None
    least = promise.threshold(len(CLASSES) * (len(STYLES) + 1))
    assert all(p.count >= least for p in prompt_payload(Client(0, CONFIG)).prompts)
    assert least > 2 * promise.noise


def test_the_same_question_has_the_same_answer_and_another_question_too() -> None:
    grid = InlineGrid(app, 2, CONFIG.to_flat())
    first, again = ask(grid, "query.prompts"), ask(grid, "query.prompts")
    other = ask(grid, "query.prompts", **{"prompt-level": "class", "classes": ["star"]})
    assert not first.has_error()
    assert first.content == again.content == other.content


def test_how_the_model_does_is_told_once_with_noise() -> None:
    grid = InlineGrid(app, 2, CONFIG.to_flat())
    first = ask(grid, "evaluate.by_class", model())
    metrics: Any = first.content["metrics"]
    assert all(0 <= right <= total for right, total in zip(metrics["right"], metrics["total"], strict=True))
    assert metrics["num-examples"] == sum(metrics["total"])
    assert "skipped" not in metrics
    again = ask(grid, "evaluate.by_class", model())
    assert again.has_error()
    assert "privacy budget for evaluation is spent" in str(again.error.reason)


def test_a_question_that_the_promise_does_not_count_is_refused() -> None:
    config = CONFIG.model_copy(update={"client_evaluation": False})
    reply = ask(InlineGrid(app, 2, config.to_flat()), "evaluate.by_class", model())
    assert "has none for evaluation" in str(reply.error.reason)


@pytest.mark.parametrize(("kind", "what"), [("train", "models"), ("evaluate", "losses")])
def test_what_has_no_promise_is_refused(kind: str, what: str) -> None:
    reply = ask(InlineGrid(app, 2, CONFIG.to_flat()), kind, model())
    assert reply.has_error()
    assert f"has none for {what}" in str(reply.error.reason)


@pytest.mark.parametrize("level", ["instance", "tokens", "auto"])
def test_a_level_that_can_keep_no_promise_is_refused_before_a_run(level: str) -> None:
    with pytest.raises(
        ConfigError, match=r"no differential privacy.*to names, class, class-style, embeddings or votes"
    ):
        preflight(CONFIG.model_copy(update={"prompt_level": level}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "mixed"}, "use 'fgl', 'fedavg'"),
        ({"rounds": 2}, "set rounds to 0"),
        ({"dataset": "nodes", "classes": "a, b"}, "dp-delta must be set"),
    ],
)
def test_what_a_promise_does_not_cover_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RunConfig.parse({"dp-epsilon": 1.0, **changes})
