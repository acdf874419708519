"""Two thousand hostile replies: none ends a run, none changes the model or spends budget, memory stays flat."""

import logging
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fgl_flower.levels.offers import merge
from fgl_flower.records.ledger import Ledger
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import encode
from fgl_flower.wire.limits import Kind, Limits
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import Vectors
from strategies.budget import allot
from strategies.fgl import FGL
from strategies.gate import Gate
from strategies.guarded_grid import GuardedGrid
from tests import hostile
from tests.hostile import CLASSES, CLIENTS, GLOBAL, SHAPE, STYLES, forged_prompts, forged_training, metrics
from tests.undrawn import Undrawn

KINDS: tuple[Kind, ...] = ("text", "embeddings", "tokens")
MANY = settings(
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,  # the same replies in every run: a failure is the gate's, never the day's
)
BUDGET = 30
GROWTH = 64 * 2**20  # bytes of resident memory that they may leave behind: noise of the allocator


@pytest.fixture(scope="module", autouse=True)
def flat_memory() -> Iterator[None]:
    """Watch the process over all tests of this file, and keep Flower from logging 100,000 lines."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    before = psutil.Process().memory_info().rss
    yield
    logger.setLevel(level)
    assert psutil.Process().memory_info().rss - before < GROWTH


def limits(kind: Kind) -> Limits:
    return Limits(kind=kind, prompts=hostile.PROMPTS, embedding=SHAPE)


def honest(partition: int, kind: Kind) -> PromptPayload:
    prompt = Prompt(f"a {STYLES[0]} of a {CLASSES[partition]}", CLASSES[partition], STYLES[0], 5)
    arrays = {prompt.text: Vectors.of(np.ones(SHAPE))} if kind == "embeddings" else {}
    return PromptPayload(partition, (prompt,), {CLASSES[partition]: 5}, kind=kind, arrays=arrays)


def run(attack: RecordDict, kind: Kind, strategy: Strategy, rounds: int) -> tuple[ArrayRecord, dict[str, str]]:
    """Run a strategy on two honest clients and client 1, who sends `attack` whatever it is asked."""
    app = ClientApp()

    @app.query("prompts")
    def query(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        return Message(attack if partition == 1 else encode(honest(partition, kind)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        if partition == 1:
            return Message(attack, reply_to=message)
        own = ArrayRecord({k: Array(np.full(a.shape, partition, np.float32)) for k, a in GLOBAL.items()})
        return Message(RecordDict({"arrays": own, "metrics": metrics(partition_id=partition)}), reply_to=message)

    gate = Gate(GLOBAL, CLIENTS, CLASSES, STYLES, limits(kind))
    grid = GuardedGrid(InlineGrid(app, CLIENTS, {}), gate, Ledger(CLIENTS), lambda event: None)
    return strategy.start(grid, GLOBAL, num_rounds=rounds, timeout=60).arrays, grid.quarantined


def fedavg() -> FedAvg:
    return FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)


def attacks(kind: Kind) -> st.SearchStrategy[tuple[Kind, RecordDict]]:
    return forged_prompts(kind).map(lambda attack: (kind, attack))


@settings(MANY, max_examples=1300)
@given(st.sampled_from(KINDS).flatmap(attacks))
def test_hostile_prompt_replies_spend_nothing(drawn: tuple[Kind, RecordDict]) -> None:
    kind, attack = drawn
    synthesis = Undrawn(CLASSES, STYLES, limits(kind))
    generative = FGL(fedavg(), synthesis, lambda arrays, images, server_round: GLOBAL)
    _, quarantined = run(attack, kind, generative, 1)
    assert len(quarantined) == 1
    (reason,) = quarantined.values()
    assert reason.isprintable()
    assert len(reason) < 400
    plans = [allot(merge(payloads, 100), BUDGET, "uniform") for payloads in synthesis.asked]
    assert plans == [allot(merge([honest(0, kind), honest(2, kind)], 100), BUDGET, "uniform")]


@settings(MANY, max_examples=700)
@given(forged_training)
def test_hostile_training_replies_change_nothing(attack: RecordDict) -> None:
    arrays, quarantined = run(attack, "text", fedavg(), 1)
    assert len(quarantined) == 1
    np.testing.assert_array_equal(arrays["w"].numpy(), np.full((2, 3), 1, np.float32))  # the mean of 0 and 2
    assert arrays["b"].numpy() == 1


def test_a_flood_of_near_duplicates_is_one_prompt_and_a_huge_claim_is_clipped() -> None:
    flood = tuple(Prompt(f"a star no. {i}", "star", "sketch", 10**9) for i in range(5000))
    liar = PromptPayload(1, flood, {"star": 10**9})
    fair = PromptPayload(0, (Prompt("a red star", "star", "sketch", 5),), {"star": 5})
    rows = allot(merge([fair, liar], clip=100), 10, "uniform")
    assert [n for _, n in rows] == [5, 5]
    by_count = allot(merge([fair, liar], clip=5), 10, "by-count")
    assert [n for _, n in by_count] == [5, 5]
