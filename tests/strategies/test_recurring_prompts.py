"""Prompt rounds that recur: when they come, who sends again, what the server makes of it and what it costs."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st

from clients import captions as captioning
from clients.data import Client
from clients.data_hash import data_hash
from clients.prompting import query_prompts
from fgl_flower.config import RunConfig
from fgl_flower.data.sources import load_source
from fgl_flower.errors import RunError
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload, Unchanged
from strategies.fgl import FGL, Schedule
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from strategies.server_app import serve
from tests.pictures import put
from tests.tiny_models import save_text_to_image
from tests.toys import filled, learns, toy_app
from tests.undrawn import Undrawn
from tests.whole_runs import small


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("generator")
    return str(save_text_to_image(folder, defaults={"steps": 1, "guidance": 1.0}))


# --- when ---


class Counting(FedAvg):
    """Notes its own rounds, and the order of what it is asked to do."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self.calls: list[tuple[str, int]] = []

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Any:
        self.calls.append(("configure", server_round))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        self.calls.append(("aggregate", server_round))
        return super().aggregate_train(server_round, replies)


@pytest.mark.parametrize(
    ("rounds", "every", "expected"),
    [
        (0, 0, "P"),
        (0, 3, "P"),
        (3, 0, "P123"),
        (1, 1, "P1"),
        (3, 1, "P1P2P3"),
        (4, 2, "P12P34"),
        (5, 2, "P12P34P5"),
        (3, 3, "P123"),
        (7, 3, "P123P456P7"),
    ],
)
def test_the_schedule_by_hand(rounds: int, every: int, expected: str) -> None:
    schedule = Schedule(every)
    made = [(schedule.asks(r), schedule.wrapped(r)) for r in range(1, schedule.rounds(rounds) + 1)]
    assert "".join("P" if asks else str(number) for asks, number in made) == expected
    assert schedule.wrapped(0) == -1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 12), st.integers(0, 14))
def test_the_wrapped_strategy_sees_each_of_its_rounds_once_and_in_order(rounds: int, every: int) -> None:
    wrapped, events = Counting(), []
    strategy = FGL(wrapped, Undrawn(), learns(0), every=every, log_event=events.append)
    seen: list[dict[str, Any]] = []
    grid = InlineGrid(toy_app(seen), 2, {})
    strategy.start(grid, filled(0), num_rounds=strategy.schedule.rounds(rounds))
    assert wrapped.calls == [(call, n) for n in range(1, rounds + 1) for call in ("configure", "aggregate")]
    assert [s["server-round"] for s in seen if s["kind"] == "train"] == [n for n in range(1, rounds + 1) for _ in "ab"]
    asked = [0, *(n for n in range(1, rounds) if every and n % every == 0)]
    assert [s["round"] for s in seen if s["kind"] == "prompts"] == [n for n in asked for _ in "ab"]
    assert [event["round"] for event in events] == asked


# --- what the server makes of the answers ---

Answers = dict[int, list[RecordDict | None]]  # of each partition, round by round; None: an error


def told(partition: int, count: int = 1) -> RecordDict:
    return encode(PromptPayload(partition, (Prompt("a star", "star", count=count),), {"star": count}))


def held(answers: Answers) -> tuple[list[dict[int, int]], list[dict[str, Any]], dict[str, str], list[list[Any]]]:
    """Return what was learned from (partition: images), the events, the quarantined and what each client was asked."""
    app, toy = ClientApp(), toy_app([])
    asked: list[list[Any]] = [[] for _ in answers]
    events: list[dict[str, Any]] = []

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        asked[partition].append(dict(message.content["config"]))
        content = answers[partition][len(asked[partition]) - 1]
        if content is None:
            raise ValueError("busy")
        return Message(content, reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return toy(message, context)

    synthesis = Undrawn()
    strategy = FGL(Counting(), synthesis, learns(0), every=1, log_event=events.append)
    gate = Gate(filled(0), len(answers), ("star",))
    grid = GuardedGrid(InlineGrid(app, len(answers), {}), gate, Ledger(len(answers)), lambda event: None)
    rounds = max(map(len, answers.values()))
    strategy.start(grid, filled(0), num_rounds=strategy.schedule.rounds(rounds), timeout=60)
    learned = [{p.partition_id: p.class_counts["star"] for p in payloads} for payloads in synthesis.asked]
    return learned, [{k: v for k, v in e.items() if k != "event"} for e in events], grid.quarantined, asked


def test_the_server_learns_from_the_last_payload_of_each_client() -> None:
    unchanged = [encode(Unchanged(i)) for i in range(3)]
    learned, events, quarantined, asked = held(
        {
            0: [told(0), unchanged[0], unchanged[0], unchanged[0]],
            1: [told(1), told(1, 5), unchanged[1], unchanged[1]],
            2: [told(2), None, told(2), None],  # silent, then (its state lost) the same again, then silent
        }
    )
    assert learned == [{0: 1, 1: 1, 2: 1}, {0: 1, 1: 5, 2: 1}]  # only the second prompt round brought anything new
    assert events == [
        {"round": 0, "sent": 3, "unchanged": 0},
        {"round": 1, "sent": 1, "unchanged": 1},
        {"round": 2, "sent": 1, "unchanged": 2},
        {"round": 3, "sent": 0, "unchanged": 2},
    ]
    assert not quarantined
    # Each client is told the round of the payload that the server has of it.
    assert [a.get("held-round") for a in asked[0]] == [None, 0, 0, 0]
    assert [a.get("held-round") for a in asked[1]] == [None, 0, 1, 1]
    assert [a.get("held-round") for a in asked[2]] == [None, 0, 0, 2]


def test_unchanged_from_a_client_that_never_told_anything_contributes_nothing_and_is_no_error() -> None:
    unchanged = encode(Unchanged(1))
    learned, events, quarantined, _ = held({0: [told(0), encode(Unchanged(0))], 1: [unchanged, unchanged]})
    assert learned == [{0: 1}]
    assert [(e["sent"], e["unchanged"]) for e in events] == [(1, 0), (0, 1)]
    assert not quarantined


def test_a_client_that_failed_at_first_is_heard_later() -> None:
    learned, _, _, asked = held({0: [told(0), encode(Unchanged(0))], 1: [None, told(1, 4)]})
    assert learned == [{0: 1}, {0: 1, 1: 4}]
    assert "held-round" not in asked[1][1]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (encode(Unchanged(0)), "now it claims 0"),
        (encode(Unchanged(99)), "not one of 2"),
        (RecordDict({**encode(Unchanged(1)), "more": ConfigRecord()}), "and nothing else"),
        (RecordDict({"payload": ConfigRecord({**encode(Unchanged(1))["payload"], "arrays": b"x"})}), "other values"),
        (told(1, 10**10), "above the limit"),
    ],
)
def test_a_hostile_answer_to_a_later_prompt_round_changes_nothing(reply: RecordDict, reason: str) -> None:
    learned, _, quarantined, _ = held({0: [told(0), encode(Unchanged(0))], 1: [told(1), reply]})
    assert learned == [{0: 1, 1: 1}]
    assert list(quarantined) == ["1"]
    assert reason in quarantined["1"]


def test_when_nobody_ever_told_anything_the_run_ends_in_an_error(tmp_path: Path, generator: str) -> None:
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        return Message(encode(Unchanged(int(context.node_config["partition-id"]))), reply_to=message)

    config = small(tmp_path, "fgl", generator)
    with pytest.raises(RunError, match="no client sent a prompt"), RunFolder.create(config) as folder:
        serve(InlineGrid(app, config.clients, config.to_flat()), config, folder)


# --- what a client remembers ---


def ask(client: Client, state: RecordDict, number: int, held_round: int | None = None) -> PromptPayload | Unchanged:
    asked = ConfigRecord({"server-round": number} | ({} if held_round is None else {"held-round": held_round}))
    return query_prompts(client, RecordDict({"config": asked}), state)


def test_a_client_says_unchanged_only_of_what_the_server_keeps(
    tmp_path: Path, generator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(tmp_path, "fgl", generator, rounds=3, prompt_every=1, prompt_level="instance")
    client, state = Client(1, config), RecordDict()
    payload = ask(client, state, 0)
    assert isinstance(payload, PromptPayload)
    monkeypatch.setattr(captioning, "_CAPTIONS", {})
    monkeypatch.setattr(captioning, "_captioner", lambda *_: pytest.fail("captioned again"))
    assert ask(client, state, 1, 0) == Unchanged(1)
    monkeypatch.undo()
    assert ask(client, state, 2) == payload  # the server has none of its payloads: the reply came too late
    assert ask(client, state, 3, 0) == payload  # the server has an earlier one than the last
    assert ask(client, state, 4, 3) == Unchanged(1)
    assert ask(client, RecordDict(), 5, 3) == payload  # its state is lost
    once = Client(1, small(tmp_path, "fgl", generator, prompt_level="instance"))
    assert ask(once, state, 0) == payload


def test_a_clients_digest_follows_its_images_and_not_their_order(tmp_path: Path) -> None:
    def found(**changes: Any) -> bytes:
        config = RunConfig(
            dataset=f"folder:{tmp_path}", clients=1, rounds=2, prompt_every=1, partition="iid", **changes
        )
        return data_hash(Client(0, config))

    for name in ("cat", "dog"):
        for split, count in (("train", 4), ("test", 1), ("valid", 1)):
            for i in range(count):
                put(tmp_path / split / name / f"{i}.png", i + 10 * (name == "dog"))
    first = found()
    assert found(seed=5) == first  # the same images, shuffled otherwise
    file = tmp_path / "train" / "cat" / "0.png"
    os.utime(file, ns=(1, 1))
    assert found() == first  # looked at again, and the same
    put(file, 77)
    changed = found()
    assert changed != first
    put(tmp_path / "train" / "cat" / "9.png", 9)
    grown = found()
    assert grown not in (first, changed)
    (tmp_path / "train" / "cat" / "9.png").rename(tmp_path / "train" / "dog" / "9.png")
    assert found() not in (first, changed, grown)  # another class
    put(tmp_path / "test" / "cat" / "9.png", 9)
    assert found() == found(seed=5)  # a test image is not the client's


def test_without_recurring_prompts_a_folder_is_looked_through_once(tmp_path: Path) -> None:
    for i in range(8):
        put(tmp_path / "cat" / f"{i}.png", i)
    once, again = (RunConfig(dataset=f"folder:{tmp_path}", rounds=2, prompt_every=every) for every in (0, 1))
    before, watched = load_source(once), load_source(again)
    assert load_source(again) is watched
    put(tmp_path / "cat" / "8.png", 8)
    assert load_source(once) is before
    assert len(load_source(again).private) > len(watched.private)
