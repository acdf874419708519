"""The wire format: what goes in comes out, and what is forged is refused."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fgl_flower.data.world import CLASSES, STYLES
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.codec import decode, encode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.payload import Prompt, PromptPayload, Rejection, Unchanged, token_of
from fgl_flower.wire.sizes import message_bytes
from fgl_flower.wire.vectors import Vectors

CLASS_NAMES = ("star", "circle", "flèche")
DOMAIN_NAMES = ("sketch", "photo")
LIMITS = Limits()

words = st.text(st.characters(categories=("L", "N", "P", "S"), codec="ascii") | st.sampled_from("éßøñ–"), min_size=1)
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


def read(records: RecordDict, limits: Limits = LIMITS) -> PromptPayload | Unchanged | Rejection:
    return decode(records, limits, CLASS_NAMES, DOMAIN_NAMES)


@given(payloads)
def test_round_trip_is_exact(payload: PromptPayload) -> None:
    assert read(encode(payload)) == payload


def test_what_learning_took_travels_and_makes_no_other_payload() -> None:
    slow, fast = PromptPayload(1, seconds=40), PromptPayload(1)
    assert slow == fast
    back = read(encode(slow))
    assert isinstance(back, PromptPayload)
    assert back.seconds == 40
    assert isinstance(read(wire(seconds=-1)), Rejection)
    assert isinstance(read(wire(seconds=LIMITS.count + 1)), Rejection)


@given(payloads, st.randoms())
def test_bytes_do_not_depend_on_the_order_of_prompts(payload: PromptPayload, random: Any) -> None:
    shuffled = list(payload.prompts)
    random.shuffle(shuffled)
    other = PromptPayload(payload.partition_id, tuple(shuffled), payload.class_counts)
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


# --- embeddings and learned tokens ---

halves = st.floats(-1000, 1000, width=16)


def matrices(rows: int, width: int) -> st.SearchStrategy[Vectors]:
    values = st.lists(halves, min_size=rows * width, max_size=rows * width)
    return values.map(lambda v: Vectors.of(np.reshape(v, (rows, width))))


@given(st.data(), st.integers(1, 3), st.integers(1, 4))
def test_embeddings_survive_bit_for_bit(data: st.DataObject, rows: int, width: int) -> None:
    told = tuple(sorted(data.draw(st.lists(prompts, min_size=1, max_size=4, unique_by=lambda p: p.text))))
    arrays = {p.text: data.draw(matrices(rows, width)) for p in told}
    payload = PromptPayload(2, told, {"star": 1}, kind="embeddings", arrays=arrays)
    outcome = read(encode(payload), Limits(kind="embeddings"))
    assert outcome == payload
    assert encode(outcome) == encode(payload)
    assert read(encode(payload), Limits(kind="embeddings", embedding=(rows, width))) == payload
    assert isinstance(read(encode(payload), Limits(kind="embeddings", embedding=(rows, width + 1))), Rejection)


@given(st.data(), st.integers(1, 16))
def test_learned_tokens_survive_bit_for_bit(data: st.DataObject, rows: int) -> None:
    told = (Prompt("a sketch of a <star>", "star", "sketch", 3),)
    names = data.draw(st.lists(st.sampled_from([*CLASS_NAMES, *DOMAIN_NAMES]), unique=True))
    payload = PromptPayload(0, told, kind="tokens", arrays={token_of(n): data.draw(matrices(rows, 5)) for n in names})
    outcome = read(encode(payload), Limits(kind="tokens"))
    assert outcome == payload
    assert encode(outcome) == encode(payload)
    exact = Limits(kind="tokens", embedding=(3, 9), token_width=5)  # prompt embeddings may be wider than tokens
    assert read(encode(payload), exact) == payload
    assert isinstance(read(encode(payload), replace(exact, token_width=6)), Rejection) == bool(names)


def test_diffusers_loads_a_learned_token_as_it_travels(tmp_path: Path, tiny_checkpoint: Path) -> None:
    import diffusers

    vectors = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float16)
    payload = PromptPayload(0, (Prompt("a <star>", "star"),), kind="tokens", arrays={"<star>": Vectors.of(vectors)})
    (tmp_path / "learned_embeds.safetensors").write_bytes(encode(payload)["payload"]["files"][0])
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny_checkpoint)
    pipeline.load_textual_inversion(tmp_path, weight_name="learned_embeds.safetensors")
    ids = pipeline.tokenizer.convert_tokens_to_ids(["<star>", "<star>_1", "<star>_2"])
    assert (
        pipeline.text_encoder.get_input_embeddings().weight[ids].detach().numpy() == vectors.astype(np.float32)
    ).all()


def with_values(kind: str, **values: Any) -> RecordDict:
    payload = PromptPayload(
        3,
        (Prompt("a", "star", "sketch", 4),),
        {"star": 4},
        kind=kind,
        arrays={"a": TWO} if kind == "embeddings" else {},
    )
    return RecordDict({"payload": ConfigRecord({**encode(payload)["payload"], **values})})


TWO = Vectors.of(np.arange(8).reshape(2, 4))
NOT_FINITE = np.full((2, 4), np.nan, np.float16).tobytes()


def token_file(header: Any, data: bytes = bytes(16)) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"<star>": {"dtype": "F16", "shape": [2, 4], "data_offsets": [0, 16], **changes}}


BAD_FILES = {
    "empty": b"",
    "no header": bytes(4),
    "header beyond the file": (2**63).to_bytes(8, "little") + b"{}",
    "no JSON": token_file(b"{"),
    "deep JSON": token_file(b"[" * 1000),
    "no object": token_file([]),
    "nothing": token_file({}),
    "two arrays": token_file(entry() | {"<circle>": entry()["<star>"]}),
    "terabytes": token_file(entry(shape=[2**40, 4])),
    "negative": token_file(entry(shape=[-2, -4])),
    "no matrix": token_file(entry(shape=[8])),
    "other dtype": token_file(entry(dtype="F32")),
    "offsets lie": token_file(entry(data_offsets=[0, 2**50])),
    "short": token_file(entry(), bytes(14)),
    "tail": token_file(entry(), bytes(18)),
    "NaN": token_file(entry(), NOT_FINITE),
    "unknown name": token_file({"<tank>": entry()["<star>"]}),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_forged_token_files_are_refused(fault: str) -> None:
    assert isinstance(read(with_values("tokens", files=[BAD_FILES[fault]]), Limits(kind="tokens")), Rejection)
    good = read(with_values("tokens", files=[token_file(entry())]), Limits(kind="tokens"))
    assert isinstance(good, PromptPayload)
    assert good.arrays["<star>"].array.shape == (2, 4)


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (with_values("embeddings", arrays=NOT_FINITE), "NaN"),
        (with_values("embeddings", arrays=bytes(14)), "need 16 bytes"),
        (with_values("embeddings", arrays=bytes(1 << 20)), "need 16 bytes"),
        (with_values("embeddings", arrays=np.full(8, 60000, np.float16).tobytes()), "the limit is 1000"),
        (with_values("embeddings", arrays="text"), "bytes"),
        (with_values("embeddings", arrays=bytes(5000)), "arrays have 5000 bytes"),
        (with_values("embeddings", files=[]), "other values"),
        (with_values("text"), "the run asks for 'embeddings'"),
    ],
)
def test_forged_embeddings_are_refused(records: RecordDict, reason: str) -> None:
    size = 1 << 21 if reason != "arrays have 5000 bytes" else 4096
    outcome = read(records, Limits(kind="embeddings", array_bytes=size))
    assert isinstance(outcome, Rejection)
    assert reason in outcome.reason


def changed(records: RecordDict, **columns: Any) -> RecordDict:
    """Return the records of a payload with other columns in its JSON; None: without the column."""
    record: Any = records["payload"]
    told = json.loads(zlib.decompress(record["data"])) | columns
    packed = json.dumps({key: value for key, value in told.items() if value is not None}).encode()
    return RecordDict({"payload": ConfigRecord({**record, "data": zlib.compress(packed)})})


def test_a_vector_that_embeddings_share_travels_once() -> None:
    first, second = np.arange(8.0).reshape(2, 4), np.arange(4.0, 12.0).reshape(2, 4)  # share their second and first row
    told = (Prompt("a", "star"), Prompt("b", "star"))
    arrays = {"a": Vectors.of(first), "b": Vectors.of(second)}
    payload = PromptPayload(0, told, {"star": 2}, kind="embeddings", arrays=arrays)
    record: Any = encode(payload)["payload"]
    assert json.loads(zlib.decompress(record["data"]))["vectors"] == [0, 1, 1, 2]
    assert record["arrays"] == np.arange(12).astype("<f2").tobytes()
    assert read(encode(payload), Limits(kind="embeddings")) == payload


def test_embeddings_of_earlier_clients_lie_in_order() -> None:
    assert read(changed(with_values("embeddings"), vectors=None), Limits(kind="embeddings")) == read(
        with_values("embeddings"), Limits(kind="embeddings")
    )


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        ([0], "need 2 vectors, 1 are named"),
        ([0, 1, 1], "need 2 vectors, 3 are named"),
        ([0, 0], "need 8 bytes"),
        ([0, 2], "need 16 bytes"),
        ([0, -1], "vectors"),
    ],
)
def test_vectors_that_make_up_no_embedding_are_refused(vectors: list[int], reason: str) -> None:
    outcome = read(changed(with_values("embeddings"), vectors=vectors), Limits(kind="embeddings"))
    assert isinstance(outcome, Rejection)
    assert reason in outcome.reason


def test_vectors_that_unpack_beyond_the_limit_are_refused_before_they_do() -> None:
    records = changed(with_values("embeddings", arrays=bytes(2048)), vectors=[0] * 10_000, shape=[10_000, 1024])
    outcome = read(records, Limits(kind="embeddings", array_bytes=1 << 20))
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "the payload's embeddings have 20480000 bytes, the limit is 1048576"


def test_a_client_with_nothing_to_say_may_say_so_at_every_level() -> None:
    for kind in ("text", "embeddings", "tokens"):
        assert read(encode(PromptPayload(1)), Limits(kind=kind)) == PromptPayload(1)


@given(st.integers(0, 10**6), st.sampled_from(["text", "embeddings", "tokens"]))
def test_unchanged_survives_the_round_trip_at_every_level(partition: int, kind: Any) -> None:
    assert read(encode(Unchanged(partition)), Limits(kind=kind)) == Unchanged(partition)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"schema_version": 0}, "no valid JSON object"),
        ({"partition": -1}, "partition"),
        ({"partition": "1"}, "partition"),
        ({"partition": True}, "partition"),
        ({"partition": None}, "partition"),
        ({"texts": ["a star"]}, "texts"),
        ({"class_counts": [10**9]}, "class_counts"),
        ({"kind": "Unchanged"}, "unknown kind"),
    ],
)
def test_forged_words_of_no_change_are_refused(changes: dict[str, Any], reason: str) -> None:
    told = {"schema_version": 1, "kind": "unchanged", "partition": 1} | changes
    outcome = read(packed(json.dumps({key: value for key, value in told.items() if value is not None}).encode()))
    assert isinstance(outcome, Rejection)
    assert reason in outcome.reason


def test_no_change_carries_no_arrays() -> None:
    for values in ({"arrays": b""}, {"files": []}):
        outcome = read(RecordDict({"payload": ConfigRecord({**encode(Unchanged(1))["payload"], **values})}))
        assert isinstance(outcome, Rejection)
        assert "other values" in outcome.reason


@pytest.mark.parametrize(
    "text",
    [
        "a st\u0430r",  # Cyrillic a
        "\u0455\u0442\u0430\u0433",  # all Cyrillic
        "a \uff53\uff54\uff41\uff52",  # full width
        "\U0001d42c\U0001d42d\U0001d41a\U0001d42b",  # mathematical bold
        "a \u24e2tar",  # circled
        "s\u03c4ar",  # Greek tau
        "\u0261reen star",  # phonetic g
        "s\u017ftar",  # long s
        "sta\u0336\u0336\u0336r",  # struck through
        "star \uff11\uff12",  # full-width digits
        "\u212aite",  # Kelvin sign
    ],
)
def test_look_alikes_are_refused(text: str) -> None:
    assert isinstance(read(wire(texts=[text])), Rejection)


def test_letters_of_the_federations_own_names_are_welcome() -> None:
    payload = PromptPayload(0, (Prompt("картина: звезда, très joli, naïve", "звезда"),))
    assert decode(encode(payload), LIMITS, ("звезда",)) == payload
    assert isinstance(read(encode(payload)), Rejection)
    mixed = PromptPayload(0, (Prompt("звeзда", "звезда"),))  # a Latin e among Cyrillic letters
    assert isinstance(decode(encode(mixed), LIMITS, ("звезда",)), Rejection)


def test_limits_on_tokens() -> None:
    told = PromptPayload(0, (Prompt("one two three", "star"), Prompt("one two", "star")))
    count = Limits(count_tokens=lambda text: len(text.split()))
    assert read(encode(told), count) == read(encode(told), replace(count, prompt_tokens=3, tokens=5))
    assert "has 3 tokens" in getattr(read(encode(told), replace(count, prompt_tokens=2)), "reason", "")
    assert "more than 4 tokens" in getattr(read(encode(told), replace(count, tokens=4)), "reason", "")
