"""The wire format of the prompt round: what a client may tell the server, and nothing else.

A reply to ``query.prompts`` is a `RecordDict` with one `ConfigRecord` named ``payload``. Its value ``data`` is
zlib-compressed canonical JSON, stored by columns because columns compress best (60 prompts: about 600 bytes).
``schema_version`` and ``kind`` open the JSON, and a reader refuses a schema newer than its own. The kinds:

- ``text``: prompts as words; identical ones travel once, with a count.
- ``embeddings``: each prompt's text is but the name of a prompt embedding, whose shape stands in the JSON. The value
  ``arrays`` holds every different vector of them all once, in float16, and ``vectors`` in the JSON says which of them
  make up each embedding, in the order of the prompts. Without ``vectors``, as earlier clients
  send them, all lie there in order.
- ``tokens``: texts may hold learned tokens such as ``<fish>``; the value ``files`` holds one
  ``learned_embeds.safetensors`` for each.
- ``votes``: no prompts, but a number for each candidate that the question lists (`fgl_flower.wire.ballot`).
- ``unchanged``: no prompts, but word that the client's last payload still holds. A server that asks again names the
  round of the payload that it keeps (`HELD_KEY`), and only a client that has spoken in that very round may say so.

The decoder is the server's border. It never trusts: every length is bounded before memory is spent, every name is
compared with the federation's own lists, and what does not fit comes back as a `Rejection`, never as an exception.
"""

import json
import math
import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from flwr.app import ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

from fgl_flower.extension_points import PROMPT_LEVEL
from fgl_flower.wire.limits import Kind, Limits
from fgl_flower.wire.payload import SCHEMA_VERSION, Prompt, PromptPayload, Rejection, Unchanged, token_of
from fgl_flower.wire.unicode_checks import fault, odd_names, scripts_of
from fgl_flower.wire.vectors import FLOAT16, Vectors, from_learned_embeds, split_block, to_learned_embeds

RECORD_KEY = "payload"
DATA_KEY, ARRAYS_KEY, FILES_KEY = "data", "arrays", "files"
HELD_KEY = "held-round"  # in the question's config: the round of the payload that the server keeps of this client


class _Head(BaseModel):
    """What every version and kind begins with."""

    model_config = ConfigDict(strict=True)

    schema_version: PositiveInt
    kind: str


class _Unchanged(BaseModel):
    """The JSON of the kind ``unchanged``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_version: Literal[1]
    kind: Literal["unchanged"]
    partition: NonNegativeInt


class _Columns(BaseModel):
    """The JSON of every other kind. `labels` and `domains` index `classes` and `domain_names`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_version: Literal[1]
    kind: Kind
    partition: NonNegativeInt
    classes: list[str]
    class_counts: list[NonNegativeInt]
    domain_names: list[str]
    texts: list[str]
    labels: list[NonNegativeInt]
    domains: list[NonNegativeInt]
    counts: list[PositiveInt]
    shape: tuple[PositiveInt, PositiveInt] | None = None
    vectors: list[NonNegativeInt] | None = None
    skipped: NonNegativeInt = 0
    seconds: NonNegativeInt = 0
    level: str = ""
    held_back: NonNegativeInt = 0
    votes: list[int] | None = None


def encode(payload: PromptPayload | Unchanged) -> RecordDict:
    """Return the records that carry `payload`; equal payloads give equal bytes.

    Prompts travel in sorted order, so a payload survives the round trip exactly when its prompts are sorted.
    """
    if isinstance(payload, Unchanged):
        return _packed({"schema_version": SCHEMA_VERSION, "kind": "unchanged", "partition": payload.partition_id})
    prompts = sorted(payload.prompts)
    classes = sorted(set(payload.class_counts) | {p.label for p in prompts})
    domains = sorted({p.domain for p in prompts})
    columns: dict[str, Any] = {
        "schema_version": payload.schema,
        "kind": payload.kind,
        "partition": payload.partition_id,
        "classes": classes,
        "class_counts": [payload.class_counts.get(name, 0) for name in classes],
        "domain_names": domains,
        "texts": [p.text for p in prompts],
        "labels": [classes.index(p.label) for p in prompts],
        "domains": [domains.index(p.domain) for p in prompts],
        "counts": [p.count for p in prompts],
    }
    if payload.skipped:
        columns["skipped"] = payload.skipped
    if payload.seconds:
        columns["seconds"] = payload.seconds
    if payload.level:
        columns["level"] = payload.level
    if payload.held_back:
        columns["held_back"] = payload.held_back
    if payload.kind == "votes":
        columns["votes"] = list(payload.votes)
    values: dict[str, Any] = {}
    if payload.kind == "embeddings":
        arrays = [payload.arrays[p.text] for p in prompts]
        columns["shape"] = [arrays[0].rows, arrays[0].width]
        places: dict[bytes, int] = {}
        columns["vectors"] = [places.setdefault(row, len(places)) for array in arrays for row in array.split()]
        values = {ARRAYS_KEY: b"".join(places)}
    elif payload.kind == "tokens":
        values = {FILES_KEY: [to_learned_embeds(name, array) for name, array in sorted(payload.arrays.items())]}
    return _packed(columns, values)


def _packed(columns: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> RecordDict:
    data = json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return RecordDict({RECORD_KEY: ConfigRecord({DATA_KEY: zlib.compress(data, level=9), **(values or {})})})


def decode(
    records: RecordDict, limits: Limits, classes: Collection[str], domains: Collection[str] = ()
) -> PromptPayload | Unchanged | Rejection:
    """Return the payload in `records`, or why it is refused; never raises on what a client sent.

    Parameters
    ----------
    records : RecordDict
        Content of the client's reply.
    limits : Limits
        Bounds on sizes and counts.
    classes, domains : collections of str
        The federation's class and domain names; a prompt may name no other.
    """
    record = _record(records, limits)
    if isinstance(record, Rejection):
        return record
    data = _inflate(record[DATA_KEY], limits)
    if isinstance(data, Rejection):
        return data
    try:
        head = _Head.model_validate_json(data)
    except ValidationError as error:
        return Rejection(f"the payload is no valid JSON object with schema_version and kind: {_first(error)}")
    if head.schema_version > SCHEMA_VERSION:
        return Rejection(
            f"the payload has schema version {head.schema_version}, this server reads up to {SCHEMA_VERSION}: "
            "update the server or set the client back"
        )
    if head.kind not in _VALUES:
        return Rejection(f"unknown kind of payload {_quote(head.kind)}")
    form: type[_Columns | _Unchanged] = _Unchanged if head.kind == "unchanged" else _Columns
    try:
        columns = form.model_validate_json(data)
    except ValidationError as error:
        return Rejection(f"malformed payload: {_first(error)}")
    if set(record) != {DATA_KEY} | _VALUES[head.kind]:
        return Rejection(f"a payload of kind {head.kind!r} holds other values than it should")
    if isinstance(columns, _Unchanged):
        return Unchanged(columns.partition)
    if limits.kind not in {columns.kind, "any"} and (columns.kind != "text" or columns.texts):
        return Rejection(f"the payload is of kind {columns.kind!r}, the run asks for {limits.kind!r}")
    if reason := _fault(columns, limits, frozenset(classes), frozenset(domains)):
        return Rejection(reason)
    prompts = tuple(
        Prompt(text, columns.classes[label], columns.domain_names[domain], count)
        for text, label, domain, count in zip(
            columns.texts, columns.labels, columns.domains, columns.counts, strict=True
        )
    )
    arrays = _arrays(record, columns, limits, {token_of(name) for name in (*classes, *domains)})
    if isinstance(arrays, str):
        return Rejection(arrays)
    class_counts = {n: c for n, c in zip(columns.classes, columns.class_counts, strict=True) if c}
    return PromptPayload(
        columns.partition,
        prompts,
        class_counts,
        columns.schema_version,
        columns.kind,
        arrays,
        columns.skipped,
        columns.seconds,
        columns.level,
        columns.held_back,
        tuple(columns.votes or ()),
    )


_VALUES: dict[str, frozenset[str]] = {
    "text": frozenset(),
    "embeddings": frozenset({ARRAYS_KEY}),
    "tokens": frozenset({FILES_KEY}),
    "votes": frozenset(),
    "unchanged": frozenset(),
}


def _record(records: RecordDict, limits: Limits) -> Any:
    """Return the record's values, each of its type and not too large, or a rejection."""
    if set(records) != {RECORD_KEY} or not isinstance(records[RECORD_KEY], ConfigRecord):
        return Rejection(f"the reply must hold one ConfigRecord {RECORD_KEY!r} and nothing else")
    record: Any = records[RECORD_KEY]
    data, block, files = record.get(DATA_KEY), record.get(ARRAYS_KEY, b""), record.get(FILES_KEY, [])
    if set(record) - {DATA_KEY, ARRAYS_KEY, FILES_KEY} or not isinstance(data, bytes) or not isinstance(block, bytes):
        return Rejection(f"the record must hold bytes named {DATA_KEY!r} and little else")
    if not isinstance(files, list) or not all(isinstance(file, bytes) for file in files):
        return Rejection(f"{FILES_KEY!r} must be a list of bytes")
    if len(data) > limits.data_bytes:
        return Rejection(f"the payload has {len(data)} bytes, the limit is {limits.data_bytes}")
    if (size := len(block) + sum(map(len, files))) > limits.array_bytes:
        return Rejection(f"the payload's arrays have {size} bytes, the limit is {limits.array_bytes}")
    return record


def _inflate(packed: bytes, limits: Limits) -> bytes | Rejection:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, limits.inflated_bytes + 1)
    except zlib.error:
        return Rejection("the payload is not zlib data")
    if len(data) > limits.inflated_bytes:
        return Rejection(f"the payload inflates beyond the limit of {limits.inflated_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        return Rejection("the payload's zlib data is cut short or has a tail")
    return data


def _fault(columns: _Columns, limits: Limits, classes: frozenset[str], domains: frozenset[str]) -> str:
    """Return the first thing that is wrong with the columns, or ""."""
    size = len(columns.texts)
    if size > limits.prompts:
        return f"the payload has {size} prompts, the limit is {limits.prompts}"
    if any(len(column) != size for column in (columns.labels, columns.domains, columns.counts)):
        return "the payload's columns differ in length"
    if len(columns.classes) != len(columns.class_counts) or len(set(columns.classes)) != len(columns.classes):
        return "the payload's class counts do not match its classes"
    if unknown := next((name for name in columns.classes if name not in classes), None):
        return f"unknown class {_quote(unknown)}"
    if unknown := next((name for name in columns.domain_names if name and name not in domains), None):
        return f"unknown domain {_quote(unknown)}"
    if columns.level and columns.level not in PROMPT_LEVEL.builtins:
        return f"unknown prompt level {_quote(columns.level)}"
    if (columns.kind == "votes") != (columns.votes is not None) or (columns.kind == "votes" and size):
        return "votes and prompts go into payloads of their own kinds"
    if len(votes := columns.votes or ()) > limits.votes:
        return f"the payload has {len(votes)} votes, the limit is {limits.votes}"
    if any(abs(vote) > limits.count for vote in votes):
        return f"a vote is above the limit of {limits.count}"
    numbers = (*columns.counts, *columns.class_counts, columns.skipped, columns.seconds, columns.held_back)
    if any(count > limits.count for count in numbers):
        return f"a count is above the limit of {limits.count}"
    if any(i >= len(columns.classes) for i in columns.labels):
        return "a label points to no class"
    if any(i >= len(columns.domain_names) for i in columns.domains):
        return "a domain points to no domain name"
    return texts_fault(columns.texts, limits, (*classes, *domains))


def texts_fault(texts: Iterable[str], limits: Limits, names: Collection[str]) -> str:
    """Return the first thing that is wrong with prompts of a federation with these class and domain names, or ""."""
    scripts = scripts_of(names)
    odd = odd_names(names, scripts)
    tokens = 0
    for text in texts:
        if len(text) > limits.characters:
            return f"a prompt has {len(text)} characters, the limit is {limits.characters}"
        if not text.strip():
            return "a prompt is empty"
        if reason := fault(text, scripts, odd):
            return f"a prompt holds {reason}: {_quote(text)}"
        count = limits.count_tokens(text)
        if count > limits.prompt_tokens:
            return f"a prompt has {count} tokens, the limit is {limits.prompt_tokens}: {_quote(text)}"
        tokens += count
        if tokens > limits.tokens:
            return f"the prompts have more than {limits.tokens} tokens in all"
    return ""


def _arrays(record: Any, columns: _Columns, limits: Limits, names: Collection[str]) -> dict[str, Vectors] | str:
    """Return the embeddings or learned tokens, or why they are refused."""
    if columns.kind == "embeddings":
        if len(set(columns.texts)) != len(columns.texts):
            return "two embeddings bear one name"
        if columns.shape is None or (limits.embedding or columns.shape) != columns.shape:
            return f"the embeddings' shape must be {limits.embedding}, not {columns.shape}"
        unpacked = len(columns.texts) * math.prod(columns.shape) * FLOAT16.itemsize
        if unpacked > limits.array_bytes:  # vectors that travel once may stand in many places
            return f"the payload's embeddings have {unpacked} bytes, the limit is {limits.array_bytes}"
        block = split_block(record[ARRAYS_KEY], len(columns.texts), *columns.shape, columns.vectors)
        return block if isinstance(block, str) else dict(zip(columns.texts, block, strict=True))
    result: dict[str, Vectors] = {}
    width = limits.token_width or limits.array_bytes
    for file in record.get(FILES_KEY, []):
        learned = from_learned_embeds(file, limits.token_vectors, width)
        if isinstance(learned, str):
            return learned
        token, vectors = learned
        if token not in names or token in result:
            return f"a learned token must stand for one class or domain: {_quote(token)}"
        if limits.token_width and vectors.width != width:
            return f"a learned token has width {vectors.width}, not {width}"
        result[token] = vectors
    return result


def _quote(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _first(error: ValidationError) -> str:
    """Return the first complaint without the input, which may be megabytes of a stranger's text."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])[:80]
    return f"{where!a}: {problem['type']}" if where else problem["type"]
