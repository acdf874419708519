"""The wire format: what goes in comes out, and what is forged is refused."""

import json
import zlib
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.data.world import CLASSES, STYLES
from fgl_flower.ledger import message_bytes
from fgl_flower.payload import Limits, Prompt, PromptPayload, Rejection, decode, encode, merge
from fgl_flower.simulation import InlineGrid

CLASS_NAMES = ("star", "circle", "flèche")
DOMAIN_NAMES = ("sketch", "photo")
LIMITS = Limits()

words = st.text(st.characters(categories=("L", "N", "P", "S"), codec="utf-8"), min_size=1, max_size=40)
prompts = st.builds(
    Prompt, words, st.sampled_from(CLASS_NAMES), st.sampled_from(("", *DOMAIN_NAMES)), st.integers(1, LIMITS.count)
)
payloads = st.builds(
    PromptPayload,
    st.integers(0, 10**6),
    st.lists(prompts, max_size=30).map(lambda rows: tuple(sorted(rows))),
    st.dictionaries(st.sampled_from(CLASS_NAMES), st.integers(1, LIMITS.count)),
)


def wire(**changes: Any) -> RecordDict:
    """Return a sound payload's records with some columns replaced (or removed, by None)."""
    payload = PromptPayload(3, (Prompt("a sketch of a star", "star", "sketch", 4),), {"star": 4})
    columns = json.loads(zlib.decompress(encode(payload)["payload"]["data"])) | changes
    return packed(json.dumps({key: value for key, value in columns.items() if value is not None}).encode())


def packed(data: bytes) -> RecordDict:
    return RecordDict({"payload": ConfigRecord({"data": zlib.compress(data)})})


def read(records: RecordDict, limits: Limits = LIMITS) -> PromptPayload | Rejection:
    return decode(records, limits, CLASS_NAMES, DOMAIN_NAMES)


@given(payloads)
def test_round_trip_is_exact(payload: PromptPayload) -> None:
    assert read(encode(payload)) == payload


@given(payloads, st.randoms())
def test_bytes_do_not_depend_on_the_order_of_prompts(payload: PromptPayload, random: Any) -> None:
    shuffled = list(payload.prompts)
    random.shuffle(shuffled)
    other = PromptPayload(payload.partition, tuple(shuffled), payload.class_counts)
    assert encode(other) == encode(payload)


def test_sixty_prompts_fit_in_a_kilobyte_with_all_overhead() -> None:
    rng = np.random.default_rng(0)
    rows = [Prompt(f"a {s} of a {c}", c, s, int(rng.integers(1, 80))) for c in CLASSES for s in STYLES]
    assert len(rows) == 60
    counts = {c: sum(p.count for p in rows if p.label == c) for c in CLASSES}
    InlineGrid(lambda message, context: message, 1, {})  # type: ignore[arg-type]  # gives this process an identity
    asked = Message(RecordDict(), 2**62, "query.prompts")
    asked.metadata.__dict__["_message_id"] = "0" * 64
    reply = Message(encode(PromptPayload(4, tuple(rows), counts)), reply_to=asked)
    assert message_bytes(reply) <= 1024


def test_a_newer_schema_is_refused_with_a_sentence() -> None:
    outcome = read(wire(schema_version=2, kind="hologram"))
    assert isinstance(outcome, Rejection)
    assert "schema version 2" in outcome.reason
    assert "update the server" in outcome.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "video"}, "unknown kind"),
        ({"kind": None}, "no valid JSON object"),
        ({"schema_version": 0}, "no valid JSON object"),
        ({"partition": -1}, "partition"),
        ({"partition": "3"}, "partition"),
        ({"extra": 1}, "extra"),
        ({"texts": None}, "texts"),
        ({"texts": ["a", "b"]}, "differ in length"),
        ({"texts": [""]}, "empty"),
        ({"texts": ["  "]}, "empty"),
        ({"texts": ["x" * 501]}, "501 characters"),
        ({"texts": ["a\nstar"]}, "control"),
        ({"texts": ["a\u202estar"]}, "invisible"),
        ({"texts": ["a\u200bstar"]}, "invisible"),
        ({"texts": [7]}, "texts"),
        ({"counts": [0]}, "counts"),
        ({"counts": [-5]}, "counts"),
        ({"counts": [1.5]}, "counts"),
        ({"counts": [True]}, "counts"),
        ({"counts": [10**30]}, "count"),
        ({"class_counts": [-1]}, "class_counts"),
        ({"class_counts": [10**10]}, "limit"),
        ({"class_counts": []}, "do not match"),
        ({"classes": ["tank"]}, "unknown class 'tank'"),
        ({"classes": ["star", "star"], "class_counts": [1, 1]}, "do not match"),
        ({"domain_names": ["x-ray"]}, "unknown domain"),
        ({"labels": [1]}, "points to no class"),
        ({"labels": [-1]}, "labels"),
        ({"domains": [9]}, "points to no domain"),
    ],
)
def test_forged_columns_are_refused(changes: dict[str, Any], reason: str) -> None:
    outcome = read(wire(**changes))
    assert isinstance(outcome, Rejection)
    assert reason in outcome.reason


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"payload": MetricRecord({"data": 1})}),
        RecordDict({"payload": ArrayRecord({"data": Array(np.zeros(1))})}),
        RecordDict({"payload": ConfigRecord({"data": "text"})}),
        RecordDict({"payload": ConfigRecord({"data": b"not zlib"})}),
        RecordDict({"payload": ConfigRecord({"data": b"", "more": 1})}),
        RecordDict({"payload": ConfigRecord({"data": zlib.compress(b"{}")}), "more": ConfigRecord()}),
        RecordDict({"payload": ConfigRecord({"data": zlib.compress(b"{}") + b"tail"})}),
        RecordDict({"payload": ConfigRecord({"data": zlib.compress(b"{}" * 99)[:-5]})}),
        packed(b""),
        packed(b"[]"),
        packed(b"\xff\xfe"),
        packed(b"[" * 100_000),
        packed(b'{"schema_version": 1, "kind": "\\ud800"}'),
        packed(b'{"schema_version": NaN, "kind": "text"}'),
    ],
)
def test_malformed_records_are_refused(records: RecordDict) -> None:
    assert isinstance(read(records), Rejection)


def test_a_decompression_bomb_is_refused_before_it_inflates() -> None:
    outcome = read(packed(b" " * 50_000_000))
    assert isinstance(outcome, Rejection)
    assert "inflates beyond" in outcome.reason


def test_limits_on_bytes_and_prompts() -> None:
    payload = PromptPayload(0, tuple(Prompt(f"star {i}", "star") for i in range(5)))
    small, few = read(encode(payload), Limits(data_bytes=10)), read(encode(payload), Limits(prompts=4))
    assert isinstance(small, Rejection)
    assert isinstance(few, Rejection)
    assert "limit is 10" in small.reason
    assert "5 prompts" in few.reason


def test_a_rejection_shows_client_text_cut_and_escaped() -> None:
    outcome = read(wire(classes=["\x1b[31m" + "é" * 10_000]))
    assert isinstance(outcome, Rejection)
    assert outcome.reason.isascii()
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 400


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    assert isinstance(read(packed(data)), Rejection)


def test_merge_sums_equal_prompts_and_clips_each_client() -> None:
    star, ring = Prompt("a star", "star", count=5), Prompt("a circle", "circle", count=2)
    greedy = Prompt("a star", "star", count=1_000_000)
    merged = merge([PromptPayload(0, (star, ring)), PromptPayload(1, (greedy, greedy))], clip=10)
    # 5 of client 0 and at most 10 of client 1, who cannot get round the clip by repeating itself.
    assert merged == (Prompt("a circle", "circle", count=2), Prompt("a star", "star", count=15))
