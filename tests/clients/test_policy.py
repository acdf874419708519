"""An owner's rules beat the server's wish, the server hears of it, and the owner's log holds what left."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from clients.client_app import app
from clients.policy import Policy, PolicyError
from clients.prompting import permitted
from fgl_flower.config import RunConfig
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import decode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.sizes import object_bytes
from strategies.fgl import _limits_of_owner

CONFIG = RunConfig(clients=2, private_images=60, partition="iid", local_epochs=1)


def answer(node_config: Mapping[str, str], kind: str = "query.prompts", **question: str) -> Message:
    """Return how a client under these rules answers."""
    grid = InlineGrid(app, 2, CONFIG.to_flat(), {0: node_config})
    content = RecordDict({"config": ConfigRecord({"server-round": 0, **question})})
    [reply] = grid.send_and_receive([Message(content, next(iter(grid.get_node_ids())), kind)])
    return reply


def said(reply: Message) -> PromptPayload:
    from fgl_flower.data.sources import load_source

    source = load_source(CONFIG)
    payload = decode(reply.content, Limits(), source.classes, source.domains)
    assert isinstance(payload, PromptPayload), payload
    return payload


def rules(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return {"policy": str(file)}


def test_a_forbidden_level_is_refused_with_a_sentence(tmp_path: Path) -> None:
    reply = answer(rules(tmp_path, 'levels = ["class"]'), **{"prompt-level": "instance"})
    assert reply.has_error()
    assert "the owner's rules forbid prompts of the level 'instance'" in str(reply.error.reason)


def test_a_forbidden_level_is_answered_at_another_if_the_owner_says_so(tmp_path: Path) -> None:
    own = rules(tmp_path, 'levels = ["class"]\notherwise = "class"')
    payload = said(answer(own, **{"prompt-level": "instance"}))
    assert payload.level == "class"
    assert {prompt.text for prompt in payload.prompts} == set(payload.class_counts)
    assert _limits_of_owner(payload) == "client 0: by its owner's rules it answered at the level 'class'"
    assert said(answer(own, **{"prompt-level": "class"})).level == ""


def test_a_class_that_is_never_mentioned_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    everything = said(answer({}))
    hidden = min(everything.class_counts)
    payload = said(answer(rules(tmp_path, f"never-mention = [{hidden!r}]")))
    assert hidden not in payload.class_counts
    assert payload.class_counts == {n: c for n, c in everything.class_counts.items() if n != hidden}
    assert payload.prompts == tuple(prompt for prompt in everything.prompts if prompt.label != hidden)


def test_few_images_and_many_prompts_stay_at_home() -> None:
    prompts = tuple(sorted(Prompt(text, text, "", n) for text, n in (("star", 5), ("ring", 2), ("drop", 4))))
    payload = PromptPayload(0, prompts, {"star": 5, "ring": 2, "drop": 4})
    kept = permitted(payload, Policy(min_images=4))
    assert [prompt.text for prompt in kept.prompts] == ["drop", "star"]
    assert (kept.class_counts, kept.held_back) == ({"star": 5, "drop": 4}, 1)
    one = permitted(payload, Policy(max_prompts=1))
    assert [prompt.text for prompt in one.prompts] == ["star"]
    assert one.held_back == 2
    assert permitted(payload, Policy()) == payload


def test_bytes_of_a_reply_are_the_fewer_of_the_owners_and_the_servers(tmp_path: Path) -> None:
    free = object_bytes(answer({}).content)
    assert object_bytes(answer(rules(tmp_path, f"max-bytes = {free - 40}")).content) <= free - 40


@pytest.mark.parametrize(("kind", "key"), [("train", "training"), ("evaluate", "evaluation")])
def test_models_are_not_trained_or_evaluated_against_the_rules(tmp_path: Path, kind: str, key: str) -> None:
    reply = answer(rules(tmp_path, f"{key} = false"), kind)
    assert f"the owner's rules forbid {key}" in str(reply.error.reason)


@pytest.mark.parametrize(
    "text",
    [
        "levels = 3",
        "min-image = 5",
        "not toml",
        'levels = ["poem"]',
        'levels = ["class"]\notherwise = "instance"',
        None,
    ],
)
def test_wrong_rules_forbid_everything(tmp_path: Path, text: str | None) -> None:
    own = {"policy": str(tmp_path / "none")} if text is None else rules(tmp_path, text)
    reply = answer(own)
    assert reply.has_error()
    assert "the owner's rules" in str(reply.error.reason)
    assert str(tmp_path) not in str(reply.error.reason)
    with pytest.raises(PolicyError):
        Policy.read(own["policy"])


def test_the_log_holds_exactly_what_left(tmp_path: Path) -> None:
    log = tmp_path / "sent.jsonl"
    replies = [answer({"log": str(log)}), answer({"log": str(log)}, **{"prompt-level": "class"})]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert log.stat().st_mode & 0o777 == 0o600
    for line, reply in zip(lines, replies, strict=True):
        parts = get_all_nested_objects(reply.content)
        data = b"".join(parts[name].deflate() for name in sorted(parts))
        assert (line["bytes"], line["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert line["payload"]["texts"] == [prompt.text for prompt in said(reply).prompts]
        assert (line["asked"], line["round"]) == ("query.prompts", 0)


def test_nothing_leaves_where_the_log_cannot_be_written(tmp_path: Path) -> None:
    assert answer({"log": str(tmp_path / "none" / "sent.jsonl")}).has_error()


def private(tmp_path: Path, epsilon: float) -> dict[str, str]:
    return rules(tmp_path, f"epsilon = {epsilon}\ndelta = 1e-4\nspent = '{tmp_path}/spent.jsonl'")


def ask_privately(node_config: Mapping[str, str], kind: str = "query.prompts", **changes: float) -> Message:
    config = CONFIG.model_copy(update={"dp_epsilon": 1.0, "dp_delta": 1e-4, "client_evaluation": False, **changes})
    grid = InlineGrid(app, 2, config.to_flat(), {0: node_config})
    content = RecordDict({"config": ConfigRecord({"server-round": 0})})
    [reply] = grid.send_and_receive([Message(content, next(iter(grid.get_node_ids())), kind)])
    return reply


def test_a_budget_counts_over_runs_and_ends(tmp_path: Path) -> None:
    own = private(tmp_path, 1.5)
    answers = [ask_privately(own) for _ in range(4)]  # each a run of its own
    spent = [json.loads(line)["epsilon"] for line in (tmp_path / "spent.jsonl").read_text().splitlines()]
    assert [answer.has_error() for answer in answers] == [False, False, True, True]
    assert spent[0] == pytest.approx(1.0, rel=0.01)
    assert 1.0 < spent[1] <= 1.5 < 2.0  # of two runs together: less than the sum
    assert "the owner's privacy budget is spent" in str(answers[2].error.reason)


@pytest.mark.parametrize("kind", ["query.prompts", "train", "evaluate", "evaluate.by_class"])
def test_under_a_budget_nothing_leaves_without_a_promise(kind: str, tmp_path: Path) -> None:
    reply = answer(private(tmp_path, 1.5), kind)
    assert reply.has_error()
    assert "demand differential privacy" in str(reply.error.reason)
    assert not (tmp_path / "spent.jsonl").exists()


def test_without_the_file_of_the_budget_nothing_leaves(tmp_path: Path) -> None:
    own = private(tmp_path, 1.5)
    (tmp_path / "spent.jsonl").write_text("no JSON\n")
    reply = ask_privately(own)
    assert reply.has_error()
    assert "the file of the owner's privacy budget cannot be used" in str(reply.error.reason)


def test_a_budget_needs_its_file(tmp_path: Path) -> None:
    reply = answer(rules(tmp_path, "epsilon = 1.0"))
    assert reply.has_error()
    assert "set spent" in str(reply.error.reason)
