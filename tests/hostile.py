"""Replies that no honest client sends, for Hypothesis: each strategy yields only what the gate has to refuse."""

import io
import json
import math
import zlib
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import strategies as st

from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import Prompt, PromptPayload
from fgl_flower.wire.vectors import Vectors

CLIENTS, PROMPTS = 3, 20  # of the federation under attack; prompts a client may send
CLASSES, STYLES = ("star", "circle", "heart"), ("sketch", "photo")
GLOBAL = ArrayRecord({"w": Array(np.zeros((2, 3), np.float32)), "b": Array(np.zeros((), np.float32))})
SHAPE = (3, 4)  # of a prompt embedding
EVIL = st.sampled_from("\x00\x1b\n\u202e\u200b\u2028\ud800\ue000\u0430\u03bf\uff41\U0001d41a\u0261\u24d0\u212a")
STRANGE = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.lists(st.integers()), st.just({"a": 1})
)


def payload(kind: str = "text") -> PromptPayload:
    """Return a sound payload of client 1."""
    prompts = (Prompt("a photo of a <star>", "star", "photo", 2), Prompt("a sketch of a circle", "circle", "sketch"))
    arrays: dict[str, Vectors] = {}
    if kind == "embeddings":
        rows = np.arange(2 * math.prod(SHAPE)).reshape(2, *SHAPE)  # no two alike: each travels
        arrays = {p.text: Vectors.of(own) for p, own in zip(prompts, rows, strict=True)}
    elif kind == "tokens":
        arrays = {"<star>": Vectors.of(np.ones((2, SHAPE[1])))}
    return PromptPayload(1, prompts, {"star": 2, "circle": 1}, kind=kind, arrays=arrays)  # type: ignore[arg-type]


def columns(kind: str) -> dict[str, Any]:
    """Return the JSON of a sound payload."""
    data: Any = encode(payload(kind))["payload"]["data"]  # type: ignore[index]
    return json.loads(zlib.decompress(data))


def record(kind: str, **values: Any) -> RecordDict:
    """Return a sound payload's records with other values in its record (or without them, by None)."""
    sound: Any = encode(payload(kind))["payload"]
    return RecordDict({"payload": ConfigRecord({k: v for k, v in {**sound, **values}.items() if v is not None})})


NO_LIST = STRANGE.filter(lambda value: not isinstance(value, list))  # a list of integers may be a sound column

not_positive = st.one_of(st.integers(max_value=0), st.integers(10**9 + 1, 10**40), STRANGE)
not_natural = st.one_of(st.integers(max_value=-1), st.integers(10**9 + 1, 10**40), STRANGE)
bad_text = st.one_of(
    st.text(" ", max_size=3),
    st.integers(501, 3000).map(lambda n: "star " * n),
    st.tuples(st.text("abc ", max_size=9), EVIL, st.text("xyz", max_size=9)).map("".join),
    STRANGE.filter(lambda v: not isinstance(v, str)),
)
foreign = st.text(max_size=2000).filter(lambda name: name not in (*CLASSES, *STYLES, ""))
CHANGES: dict[str, st.SearchStrategy[Any]] = {
    "texts": st.one_of(
        bad_text.map(lambda t: ["a star", t]), STRANGE, st.lists(st.just("a star"), min_size=3, max_size=40)
    ),
    "counts": st.one_of(not_positive.map(lambda n: [1, n]), NO_LIST, st.just([1])),
    "class_counts": st.one_of(not_natural.map(lambda n: [1, n]), NO_LIST, st.just([1, 1, 1])),
    "classes": st.one_of(foreign.map(lambda n: ["star", n]), STRANGE, st.just(["star", "star"])),
    "domain_names": st.one_of(foreign.map(lambda n: ["photo", n]), STRANGE),
    "labels": st.one_of(st.integers(2, 10**30).map(lambda n: [0, n]), st.just([-1, 0]), NO_LIST),
    "domains": st.one_of(st.integers(2, 10**30).map(lambda n: [0, n]), st.just([-1, 0]), NO_LIST),
    "partition": st.one_of(st.integers(max_value=-1), st.integers(min_value=CLIENTS), STRANGE),
    "schema_version": st.one_of(st.integers(max_value=0), st.integers(min_value=2), STRANGE),
    "kind": st.text(max_size=2000).filter(lambda kind: kind not in ("text", "embeddings", "tokens")),
    "more": STRANGE,
}


@st.composite
def forged_columns(draw: st.DrawFn, kind: str) -> RecordDict:
    """Yield one column changed for the worse, or left out."""
    told = columns(kind)
    key = draw(st.sampled_from(sorted(CHANGES)))
    if key != "more" and draw(st.integers(0, 9)) == 0:
        del told[key]
    else:
        told[key] = draw(CHANGES[key])
    if kind == "embeddings" and draw(st.booleans()):
        told["shape"] = draw(st.lists(st.integers(-1, 2**62), max_size=3).filter(lambda s: tuple(s) != SHAPE))
    if kind == "embeddings" and draw(st.booleans()):
        places = told["vectors"]
        told["vectors"] = draw(st.sampled_from([places[:-1], [*places, 0], [0] * len(places), [*places[:-1], 2**62]]))
    return record(kind, data=zlib.compress(json.dumps(told).encode("utf-8", "surrogatepass")))


@st.composite
def forged_bytes(draw: st.DrawFn, kind: str) -> RecordDict:
    """Yield data that is cut, has a tail, is no zlib, no JSON, a bomb or of another type."""
    sound: Any = encode(payload(kind))["payload"]["data"]  # type: ignore[index]
    data = draw(
        st.one_of(
            st.integers(0, len(sound) - 1).map(lambda n: sound[:n]),
            st.binary(min_size=1, max_size=99).map(lambda tail: sound + tail),
            st.binary(max_size=99),
            st.binary(max_size=99).map(zlib.compress),
            st.integers(2**20, 2**22).map(lambda n: zlib.compress(b" " * n, 1)),
            st.integers(1, 2**16).map(lambda n: zlib.compress(b"[" * n)),
            st.integers(2**16 + 1, 2**18).map(bytes),
            st.text(max_size=9),
            st.floats(),
            st.none(),
        )
    )
    return record(kind, data=data)


@st.composite
def forged_values(draw: st.DrawFn, kind: str) -> RecordDict:
    """Yield arrays that are not what they declare."""
    if kind == "embeddings":
        size = 2 * SHAPE[0] * SHAPE[1] * 2
        poison = np.full(size // 2, draw(st.sampled_from([math.nan, math.inf, -math.inf, 2000])), np.float16).tobytes()
        blocks = st.one_of(
            st.integers(0, 2**17).filter(lambda n: n != size).map(bytes), st.just(poison), st.just("text"), st.none()
        )
        return record(kind, arrays=draw(blocks))
    if kind == "text":
        return record(kind, **draw(st.sampled_from([{"arrays": b""}, {"files": []}, {"x": 1}])))
    entry = {
        "dtype": draw(st.sampled_from(["F16", "F32", "I64", "F8_E4M3", "", 7])),
        "shape": draw(st.lists(st.integers(-2, 2**62), max_size=4)),
        "data_offsets": draw(st.lists(st.integers(-2, 2**62), max_size=3)),
    }
    name = draw(st.one_of(st.just("<star>"), foreign))
    header = json.dumps({name: entry}).encode("utf-8", "surrogatepass") if draw(st.booleans()) else draw(st.binary())
    length = draw(st.one_of(st.just(len(header)), st.integers(0, 2**64 - 1)))
    file = length.to_bytes(8, "little") + header + draw(st.binary(max_size=40))
    return record(kind, files=draw(st.sampled_from([[file], [file, file], [b""], "text", [1.5]])))


def npy(shape: tuple[int, ...], data: bytes) -> bytes:
    """Return npy bytes whose header claims `shape`."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


shapes = st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
forged_arrays = st.one_of(
    st.builds(
        Array,
        st.sampled_from(["float32", "float64", "object", "?", "<U9"]),
        shapes,
        st.sampled_from(["numpy.ndarray", "torch", ""]),
        st.binary(max_size=64),
    ),
    st.tuples(shapes.filter(lambda s: s != (2, 3)), st.binary(max_size=64)).map(
        lambda claim: Array("float32", (2, 3), "numpy.ndarray", npy(*claim))
    ),
    st.sampled_from([math.nan, math.inf, -math.inf]).map(lambda v: Array(np.full((2, 3), v, np.float32))),
    st.integers(0, 23).map(lambda n: Array("float32", (2, 3), "numpy.ndarray", npy((2, 3), bytes(n)))),
    st.integers(25, 2**17).map(lambda n: Array("float32", (2, 3), "numpy.ndarray", npy((2, 3), bytes(n)))),
)
scalars = st.one_of(
    st.integers(-(2**62), -1), st.integers(2**31, 2**62), st.floats(), st.lists(st.floats(), max_size=3)
)
infinite = st.sampled_from([math.nan, math.inf])


def metrics(**changes: Any) -> MetricRecord:
    """Return the metrics of a sound reply of client 1, some changed."""
    values = {"num-examples": 4, "partition-id": 1, "loss": 0.5}
    return MetricRecord({**values, **{key.replace("_", "-"): value for key, value in changes.items()}})


forged_training = st.one_of(
    forged_arrays.map(lambda a: RecordDict({"arrays": ArrayRecord({**GLOBAL, "w": a}), "metrics": metrics()})),
    st.dictionaries(st.text(max_size=9), forged_arrays, max_size=3).map(
        lambda arrays: RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics()})
    ),
    scalars.map(lambda n: RecordDict({"arrays": GLOBAL, "metrics": metrics(num_examples=n)})),
    scalars.map(lambda n: RecordDict({"arrays": GLOBAL, "metrics": metrics(partition_id=n)})),
    infinite.map(lambda n: RecordDict({"arrays": GLOBAL, "metrics": metrics(loss=n)})),
    st.text(max_size=99).map(lambda name: RecordDict({"arrays": GLOBAL, "metrics": metrics(), name + "!": metrics()})),
    st.sampled_from([RecordDict(), RecordDict({"arrays": GLOBAL}), RecordDict({"metrics": metrics()})]),
)


def forged_prompts(kind: str) -> st.SearchStrategy[RecordDict]:
    """Return hostile replies to ``query.prompts`` of a run that asks for payloads of this kind."""
    others = [k for k in ("text", "embeddings", "tokens") if k != kind]
    return st.one_of(
        forged_columns(kind),
        forged_bytes(kind),
        forged_values(kind),
        st.sampled_from(others).map(record),
        forged_training,
        st.text(max_size=99).map(lambda name: RecordDict({**record(kind), name + "!": ConfigRecord()})),
    )
