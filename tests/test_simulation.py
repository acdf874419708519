"""`InlineGrid` behaves as Flower's own grids do."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fgl_flower.simulation import InlineGrid


def counting_app() -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        seen = int(context.state["seen"]["n"]) + 1 if "seen" in context.state else 1
        context.state["seen"] = MetricRecord({"n": seen})
        message.content["config"]["changed"] = True  # must reach nobody else
        number = context.node_config["partition-id"]
        if number == 3:
            raise ValueError("client three is ill")
        if number == 4:
            return None  # type: ignore[return-value]
        return Message(RecordDict({"m": MetricRecord({"n": seen, "partition": number})}), reply_to=message)

    @app.query("sleep")
    def sleep(message: Message, context: Context) -> Message:
        time.sleep(0.05)
        return Message(RecordDict({}), reply_to=message)

    return app


def messages(grid: InlineGrid, kind: str = "train") -> list[Message]:
    record = RecordDict({"config": ConfigRecord({"server-round": 1})})
    return [Message(record, node, kind) for node in grid.get_node_ids()]


def test_state_persists_and_stays_with_its_client() -> None:
    grid = InlineGrid(counting_app(), 3, {})
    list(grid.send_and_receive(messages(grid)[:1]))
    replies = list(grid.send_and_receive(messages(grid)))
    assert [reply.content["m"]["n"] for reply in replies] == [2, 1, 1]
    assert [reply.content["m"]["partition"] for reply in replies] == [0, 1, 2]


def test_what_a_client_changes_reaches_nobody() -> None:
    grid = InlineGrid(counting_app(), 2, {})
    sent = messages(grid)
    grid.send_and_receive(sent)
    assert "changed" not in sent[0].content["config"]


def test_errors_are_replies_and_none_is_silence() -> None:
    grid = InlineGrid(counting_app(), 5, {})
    replies = list(grid.send_and_receive(messages(grid)))
    assert len(replies) == 4
    failed = [reply for reply in replies if reply.has_error()]
    assert len(failed) == 1
    assert "client three is ill" in (failed[0].error.reason or "")


def test_replies_name_their_sender_and_their_question() -> None:
    grid = InlineGrid(counting_app(), 2, {})
    sent = messages(grid)
    ids = list(grid.push_messages(sent))
    replies = list(grid.pull_messages(ids))
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids
    assert [reply.metadata.src_node_id for reply in replies] == [m.metadata.dst_node_id for m in sent]
    assert list(grid.pull_messages(ids)) == []  # each once


def test_timeout_leaves_the_rest_unasked() -> None:
    grid = InlineGrid(counting_app(), 10, {})
    assert 1 <= len(list(grid.send_and_receive(messages(grid, "query.sleep"), timeout=0.08))) < 10


def test_unknown_node_and_unregistered_message() -> None:
    grid = InlineGrid(counting_app(), 1, {})
    absent, odd = Message(RecordDict(), 7, "train"), messages(grid, "query.unknown")[0]
    replies = list(grid.send_and_receive([absent, odd]))
    assert all(reply.has_error() for reply in replies)


def test_node_ids_are_the_same_each_time_and_no_client_is_refused() -> None:
    app = counting_app()
    assert list(InlineGrid(app, 50, {}).get_node_ids()) == list(InlineGrid(app, 50, {}).get_node_ids())
    assert len(set(InlineGrid(app, 1000, {}).get_node_ids())) == 1000
    with pytest.raises(ValueError, match="at least one"):
        InlineGrid(app, 0, {})


def test_a_thousand_clients_cost_little() -> None:
    grid = InlineGrid(counting_app(), 1000, {"rounds": 1})
    start = time.monotonic()
    assert len(list(grid.send_and_receive(messages(grid)))) == 999
    assert time.monotonic() - start < 5


@dataclass
class Seen:
    """Who began, in this order, and how many were at work then."""

    began: list[int] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)


def training_app(seen: Seen, seconds: dict[int, float]) -> ClientApp:
    app, running = ClientApp(), list[int]()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        number = int(context.node_config["partition-id"])  # type: ignore[arg-type]
        running.append(number)
        seen.began.append(number)
        seen.at_work.append(len(running))
        time.sleep(seconds.get(number, 0.01))
        running.remove(number)
        if number == 3:
            raise ValueError("client three is ill")
        return Message(RecordDict({"m": MetricRecord({"partition": number})}), reply_to=message)

    return app


def partitions(replies: Iterable[Message]) -> list[int]:
    return [reply.content["m"]["partition"] for reply in replies if not reply.has_error()]


def test_workers_train_side_by_side_and_every_client_answers_once() -> None:
    seen = Seen()
    grid = InlineGrid(training_app(seen, {}), 9, {}, workers=3)
    replies = list(grid.send_and_receive(messages(grid)))
    assert sorted(partitions(replies)) == [0, 1, 2, 4, 5, 6, 7, 8]
    assert [reply.has_error() for reply in replies].count(True) == 1
    assert max(seen.at_work) == 3


def test_who_took_longest_begins_first_the_next_time() -> None:
    seen = Seen()
    grid = InlineGrid(training_app(seen, {4: 0.3, 2: 0.15}), 5, {}, workers=2)
    list(grid.send_and_receive(messages(grid)))
    assert seen.began[:2] == [0, 1]
    seen.began.clear()
    list(grid.send_and_receive(messages(grid)))
    assert seen.began[:2] == [4, 2]


def test_no_client_begins_after_the_reader_has_gone() -> None:
    seen = Seen()
    grid = InlineGrid(training_app(seen, {}), 50, {}, workers=2)
    stream = grid.stream(messages(grid))
    next(stream)
    time.sleep(0.2)
    assert len(seen.began) <= 4  # one read, three that wait for the reader
    stream.close()  # type: ignore[attr-defined]
    time.sleep(0.1)
    assert len(seen.began) <= 4


def test_workers_observe_the_timeout() -> None:
    seen = Seen()
    grid = InlineGrid(training_app(seen, dict.fromkeys(range(20), 0.05)), 20, {}, workers=2)
    replies = list(grid.send_and_receive(messages(grid), timeout=0.12))
    assert len(replies) == len(seen.began) < 20
