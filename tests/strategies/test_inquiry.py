"""What clients are asked, and asked again: questions, answers that are drawn, transfer, and a whole conversation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.question import Question
from strategies.fgl import FGL
from strategies.gate import Admitted, Gate
from strategies.guarded_grid import GuardedGrid
from strategies.inquiry import Inquiry
from strategies.transfer import Transfer
from tests.guarded import CLIENTS, check
from tests.toys import filled

LADDER = ("class-style", "instance", "embeddings")
NAMES = ("star", "moon", "BX-12")


def transfer(**shares: float) -> Transfer:
    """Return a transfer of 100 images of each named class."""
    total = np.array([100 * (name.replace("-", "_") in shares) for name in NAMES])
    right = np.array([round(100 * shares.get(name.replace("-", "_"), 0)) for name in NAMES])
    return Transfer(NAMES, right, total)


def answer(inquiry: Inquiry, question: Question, held: dict[str, int], node: int = 0) -> None:
    """Answer as a client that holds these classes does: one prompt a class, which names its level."""
    asked = {name: n for name, n in held.items() if name in (question.classes or NAMES)}
    prompts = tuple(sorted(Prompt(f"{question.level} of {name}", name, "", n) for name, n in asked.items()))
    inquiry.take(node, question, PromptPayload(node, prompts, asked), size=100)


def texts(inquiry: Inquiry) -> list[str]:
    return sorted(prompt.text for payload in inquiry.payloads() for prompt in payload.prompts)


def test_a_fixed_level_is_asked_once_without_the_names_that_cannot_be_read() -> None:
    inquiry = Inquiry(NAMES, unnamed=("BX-12",))
    assert inquiry.first() == [Question(unnamed=("BX-12",))]
    assert inquiry.learn(transfer(star=0.0)) == []


def test_auto_asks_for_captions_at_once_where_names_cannot_be_read() -> None:
    events: list[dict[str, Any]] = []
    inquiry = Inquiry(NAMES, unnamed=("BX-12",), ladder=LADDER, log=events.append)
    names, captions = inquiry.first()
    assert names == Question("class-style", ("star", "moon"))
    assert captions == Question("instance", ("BX-12",), ("BX-12",))
    assert [event["why"] for event in events] == ["names are asked for first", "the generator cannot read these names"]


def test_only_classes_that_do_badly_are_asked_again_and_go_back_where_it_did_not_help() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER, goal=0.8)
    held = {"star": 5, "moon": 6, "BX-12": 7}
    (first,) = inquiry.first()
    answer(inquiry, first, held)
    inquiry.settle(first)
    assert texts(inquiry) == ["class-style of BX-12", "class-style of moon", "class-style of star"]

    (second,) = inquiry.learn(transfer(star=0.9, moon=0.45, BX_12=0.1))
    assert second == Question("instance", ("moon", "BX-12"), ("moon", "BX-12"))
    answer(inquiry, second, held)
    inquiry.settle(second)
    assert texts(inquiry) == ["class-style of star", "instance of BX-12", "instance of moon"]
    assert [payload.class_counts for payload in inquiry.payloads()] == [held, {}]  # its images count once

    (third,) = inquiry.learn(transfer(star=0.8, moon=0.4, BX_12=0.95))
    assert third == Question("embeddings", ("moon",), ("moon",))
    assert inquiry.level == {"star": "class-style", "moon": "class-style", "BX-12": "instance"}
    answer(inquiry, third, held)
    inquiry.settle(third)
    assert inquiry.learn(transfer(star=0.9, moon=0.6, BX_12=0.9)) == []  # the ladder has no further rung
    assert inquiry.level["moon"] == "embeddings"


def test_dear_levels_are_asked_for_only_where_less_than_half_is_right() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER, goal=0.8)
    for question in inquiry.first():
        answer(inquiry, question, dict.fromkeys(NAMES, 5))
        inquiry.settle(question)
    (captions,) = inquiry.learn(transfer(star=0.3, moon=0.3, BX_12=0.3))
    answer(inquiry, captions, dict.fromkeys(NAMES, 5))
    inquiry.settle(captions)
    (dear,) = inquiry.learn(transfer(star=0.7, moon=0.5, BX_12=0.49))
    assert (dear.level, dear.classes) == ("embeddings", ("BX-12",))


def test_a_class_that_did_well_and_suffers_from_the_others_is_asked_again() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER, goal=0.8)
    for question in inquiry.first():
        answer(inquiry, question, dict.fromkeys(NAMES, 5))
        inquiry.settle(question)
    (first,) = inquiry.learn(transfer(star=0.81, moon=0.3, BX_12=0.9))
    assert first.classes == ("moon",)
    answer(inquiry, first, dict.fromkeys(NAMES, 5))
    inquiry.settle(first)
    (second,) = inquiry.learn(transfer(star=0.76, moon=0.9, BX_12=0.9))  # now taken for moons, say
    assert (second.level, second.classes) == ("instance", ("star",))


def test_where_asking_about_some_classes_does_not_help_all_are_asked() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER, goal=0.8)
    for question in inquiry.first():
        answer(inquiry, question, dict.fromkeys(NAMES, 5))
        inquiry.settle(question)
    (some,) = inquiry.learn(transfer(star=0.95, moon=0.7, BX_12=0.9))
    assert (some.classes, some.unnamed) == (("moon",), ())  # of most moons the name was right
    answer(inquiry, some, dict.fromkeys(NAMES, 5))
    inquiry.settle(some)
    (others,) = inquiry.learn(transfer(star=0.9, moon=0.65, BX_12=0.9))
    assert (others.level, others.classes) == ("instance", ("star", "BX-12"))
    answer(inquiry, others, dict.fromkeys(NAMES, 5))
    inquiry.settle(others)
    assert inquiry.level == dict.fromkeys(NAMES, "instance")  # moons, too, though names did better by them
    assert inquiry.learn(transfer(star=0.9, moon=0.6, BX_12=0.9)) == []  # nobody is left to ask


def test_a_class_that_nobody_answers_for_stays_at_its_level() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER)
    (first,) = inquiry.first()
    answer(inquiry, first, {"star": 5, "moon": 6})
    inquiry.settle(first)
    (second,) = inquiry.learn(transfer(star=0.1, moon=0.1))
    inquiry.settle(second)
    assert texts(inquiry) == ["class-style of moon", "class-style of star"]


def test_answers_at_one_level_of_different_classes_add_up() -> None:
    inquiry = Inquiry(NAMES, unnamed=("BX-12",), ladder=LADDER)
    held = {"star": 5, "moon": 6, "BX-12": 7}
    for question in inquiry.first():
        answer(inquiry, question, held)
        inquiry.settle(question)
    (later,) = inquiry.learn(transfer(star=0.1, moon=0.9, BX_12=0.9))
    assert later == Question("instance", ("star",), ("star",))
    answer(inquiry, later, held)
    inquiry.settle(later)
    assert texts(inquiry) == ["class-style of moon", "instance of BX-12", "instance of star"]


def test_only_holders_of_a_class_are_asked_and_none_beyond_its_bytes() -> None:
    inquiry = Inquiry(NAMES, ladder=LADDER, max_bytes=150)
    (first,) = inquiry.first()
    assert {node: q.max_bytes for node, q in inquiry.addressed(first, [0, 1, 2]).items()} == {0: 150, 1: 150, 2: 150}
    answer(inquiry, first, {"star": 5}, node=0)
    answer(inquiry, first, {"moon": 5}, node=1)
    moon = Question("instance", ("moon",))
    assert {node: q.max_bytes for node, q in inquiry.addressed(moon, [0, 1, 2]).items()} == {1: 50, 2: 150}
    answer(inquiry, moon, {"moon": 5}, node=1)
    assert list(inquiry.addressed(moon, [0, 1, 2])) == [2]
    assert "images of 0 clients were left out, and 1 clients with no bytes left" in inquiry.left_out()
    silent = PromptPayload(2, (), {"moon": 4})  # not one of its prompts fits
    inquiry.take(2, moon, silent, size=60)
    assert "prompts for 4 images of 1 clients were left out" in inquiry.left_out()
    assert list(inquiry.addressed(moon, [2])) == [2]  # it still holds moons
    assert Inquiry(NAMES).left_out() == ""


def test_a_question_survives_the_wire_and_says_nothing_of_what_is_usual() -> None:
    assert Question().to_config() == {}
    question = Question("instance", ("star",), ("moon",), 12)
    assert Question.of(question.to_config()) == question


def test_unknown_classes_are_those_surely_below_a_half() -> None:
    found = transfer(star=0.39, moon=0.41, BX_12=0.9)  # Wilson's upper end: 0.488 and 0.508
    assert found.unknown() == ["star"]
    (other,) = found.warnings({"star": 0.9, "moon": 0.9, "BX-12": 0.9})
    assert "1 of 3 classes: 'star' (39%), though it has learned" in other
    (alike,) = found.warnings({"star": 0.7, "moon": 0.9, "BX-12": 0.9})
    assert "'star' (39%), and it has not learned" in alike
    assert transfer(star=0.9, moon=0.5).warnings({}) == []
    assert transfer(star=1.0).share("moon") is None
    assert transfer(star=0.5, moon=1.0).overall == 0.75


def by_class(right: Any, total: Any, **changes: Any) -> RecordDict:
    examples = sum(total) if isinstance(total, list) else 3
    values = {"num-examples": examples, "partition-id": 1, "right": right, "total": total, **changes}
    return RecordDict({"metrics": MetricRecord({key: value for key, value in values.items() if value is not None})})


def test_what_a_client_says_by_class_passes_and_a_huge_claim_is_scaled_down() -> None:
    outcome = check(by_class([1, 0], [2, 1]), "evaluate.by_class")
    assert isinstance(outcome, Admitted)
    assert dict(outcome.content["metrics"]) == {"right": [1, 0], "total": [2, 1]}
    assert (outcome.partition_id, outcome.num_examples) == (1, 3)
    huge = check(by_class([500, 0], [1000, 1000]), "evaluate.by_class", max_examples=100)
    assert isinstance(huge, Admitted)
    assert dict(huge.content["metrics"]) == {"right": [25, 0], "total": [50, 50]}


@pytest.mark.parametrize(
    "content",
    [
        by_class([1], [2, 1]),
        by_class([1, 0, 0], [2, 1, 0]),
        by_class([3, 0], [2, 1]),
        by_class([-1, 0], [2, 1]),
        by_class([1, 0], [2, 1], **{"num-examples": 4}),
        by_class([1.0, 0.0], [2, 1]),
        by_class(1, 2),
        by_class([1, 0], [2, 1], **{"partition-id": CLIENTS}),
        by_class([1, 0], [2**40, 1], **{"num-examples": 2**40 + 1}),
        by_class([1, 0], [2, 1], loss=0.1),
        by_class(None, [2, 1]),
        RecordDict(),
    ],
)
def test_forged_counts_by_class_are_refused(content: RecordDict) -> None:
    assert not isinstance(check(content, "evaluate.by_class"), Admitted)


class Drawn:
    """Stands for the synthesis: its images are the texts that it was asked to draw."""

    classes, domains = ("star", "moon"), ()
    limits = Limits(kind="any")

    def __init__(self) -> None:
        self.orders: list[list[str]] = []

    def draw(self, payloads: Sequence[PromptPayload]) -> Any:
        self.orders.append(sorted(p.text for payload in payloads for p in payload.prompts))
        return self.orders[-1]


def test_a_conversation_ends_with_the_model_that_did_best_on_the_clients_images() -> None:
    """Three clients hold stars and moons; captions help moons, embeddings harm: the second model is kept."""
    asked: list[tuple[int, str, list[str]]] = []
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        number, config = int(context.node_config["partition-id"]), message.content["config"]
        classes = list(config.get("classes", ["star", "moon"]))
        asked.append((number, str(config["prompt-level"]), classes))
        prompts = tuple(sorted(Prompt(f"{config['prompt-level']} {name}", name) for name in classes))
        return Message(encode(PromptPayload(number, prompts, dict.fromkeys(classes, 1))), reply_to=message)

    @app.evaluate("by_class")
    def evaluate(message: Message, context: Context) -> Message:
        step = int(message.content.array_records["arrays"]["b"].numpy())
        moons = (1, 4, 3)[step]
        values = {"num-examples": 20, "partition-id": int(context.node_config["partition-id"])}
        metrics = MetricRecord({**values, "right": [9, moons], "total": [10, 10]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    drawn = Drawn()
    models = iter(range(3))

    def train(arrays: ArrayRecord, images: Any, server_round: int) -> ArrayRecord:
        return filled(next(models))

    inquiry = Inquiry(drawn.classes, ladder=LADDER, goal=0.8)
    strategy = FGL(FedAvg(), drawn, train, inquiry=inquiry)
    gate = Gate(filled(0), 3, drawn.classes, (), drawn.limits)
    grid = GuardedGrid(InlineGrid(app, 3, {}), gate, Ledger(3), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=1, evaluate_fn=lambda number, arrays: None)

    assert sorted(asked) == sorted(
        [(i, "class-style", ["star", "moon"]) for i in range(3)]
        + [(i, level, ["moon"]) for i in range(3) for level in ("instance", "embeddings")]
    )
    assert drawn.orders == [
        ["class-style moon"] * 3 + ["class-style star"] * 3,
        ["class-style star"] * 3 + ["instance moon"] * 3,
        ["class-style star"] * 3 + ["embeddings moon"] * 3,
        ["class-style star"] * 3 + ["instance moon"] * 3,  # those of the model that is kept; the store has them
    ]
    assert float(result.arrays["b"].numpy()) == 1
    assert strategy.transfer is not None
    assert strategy.transfer.figures() == {"star": {"right": 27, "total": 30}, "moon": {"right": 12, "total": 30}}
    assert inquiry.level == {"star": "class-style", "moon": "instance"}


def test_the_levels_told_are_those_of_the_model_that_is_kept() -> None:
    """Captions help moons and harm stars so much that the first model is better: nothing of the second is told."""
    inquiry = Inquiry(("star", "moon"), ladder=("class-style", "instance"))
    drawn, models = Drawn(), iter(range(2))
    shares = {0: [6, 2], 1: [1, 6]}
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        names = message.content["config"]["classes"]
        prompts = tuple(sorted(Prompt(name, name) for name in names))
        return Message(encode(PromptPayload(0, prompts, dict.fromkeys(names, 1))), reply_to=message)

    @app.evaluate("by_class")
    def evaluate(message: Message, context: Context) -> Message:
        step = int(message.content.array_records["arrays"]["b"].numpy())
        values = {"num-examples": 20, "partition-id": 0, "right": shares[step], "total": [10, 10]}
        return Message(RecordDict({"metrics": MetricRecord(values)}), reply_to=message)

    strategy = FGL(FedAvg(), drawn, lambda arrays, images, server_round: filled(next(models)), inquiry=inquiry)
    gate = Gate(filled(0), 1, drawn.classes, (), drawn.limits)
    grid = GuardedGrid(InlineGrid(app, 1, {}), gate, Ledger(1), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=1, evaluate_fn=lambda number, arrays: None)
    assert float(result.arrays["b"].numpy()) == 0
    assert inquiry.level == {"star": "class-style", "moon": "class-style"}


def test_captions_that_nobody_can_give_end_no_run() -> None:
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        if message.content["config"]["prompt-level"] != "class-style":
            raise RuntimeError("the captioner is out of memory")
        number = int(context.node_config["partition-id"])
        return Message(encode(PromptPayload(number, (Prompt("a star", "star"),), {"star": 1})), reply_to=message)

    @app.evaluate("by_class")
    def evaluate(message: Message, context: Context) -> Message:
        values = {"num-examples": 1, "partition-id": int(context.node_config["partition-id"])}
        metrics = MetricRecord({**values, "right": [0, 0], "total": [1, 0]})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    drawn = Drawn()
    inquiry = Inquiry(drawn.classes, ladder=LADDER)
    strategy = FGL(FedAvg(), drawn, lambda arrays, images, server_round: filled(7), inquiry=inquiry)
    gate = Gate(filled(0), 3, drawn.classes, (), drawn.limits)
    grid = GuardedGrid(InlineGrid(app, 3, {}), gate, Ledger(3), lambda event: None)
    result = strategy.start(grid, filled(0), num_rounds=1, evaluate_fn=lambda number, arrays: None)
    assert float(result.arrays["b"].numpy()) == 7
    assert inquiry.level["star"] == "class-style"
    assert len(grid.failures) == 3
