"""The wire format of the prompt round: what a client may tell the server, and nothing else.

A reply to ``query.prompts`` is a `RecordDict` with one `ConfigRecord` named ``payload`` that holds one value ``data``:
zlib-compressed canonical JSON, stored by columns because columns compress best (60 prompts: about 600 bytes).
``schema`` and ``kind`` open the JSON: a reader refuses a schema newer than its own, and each kind has its own decoder.

The decoder is the server's border. It never trusts: every length is bounded before memory is spent, every name is
compared with the federation's own lists, and what does not fit comes back as a `Rejection`, never as an exception.
"""

import json
import unicodedata
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from flwr.app import ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, ValidationError

SCHEMA_VERSION = 1
RECORD_KEY = "payload"
DATA_KEY = "data"

# Control, format (bidirectional overrides, zero-width joiners), surrogate, private and unassigned characters, and the
# two separators that break lines: none belongs in a prompt, all can forge a log line or hide text from a reader.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, order=True)
class Prompt:
    """One prompt and the number of private images that it stands for.

    Attributes
    ----------
    text : str
        What the generator is told.
    label : str
        Class name, one of the federation's.
    domain : str
        Style or domain name, one of the federation's; empty: unknown.
    count : int
        Private images behind it, at least 1.
    """

    text: str
    label: str
    domain: str = ""
    count: int = 1


@dataclass(frozen=True)
class PromptPayload:
    """All that one client sends in the prompt round.

    Attributes
    ----------
    partition : int
        The client's partition, 0 to clients - 1.
    prompts : tuple of Prompt
        Empty at the ``names`` level and for a client without images.
    class_counts : dict of str to int
        Images of each class that the client claims to hold; classes it does not hold are left out.
    schema : int
        Version of the wire format.
    """

    partition: int
    prompts: tuple[Prompt, ...] = ()
    class_counts: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Rejection:
    """Why a reply is refused, in one sentence that is safe to log (client text is cut and escaped)."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """Bounds of one client's payload.

    Attributes
    ----------
    data_bytes : int
        Size as received, in bytes.
    inflated_bytes : int
        Size after decompression, in bytes.
    prompts : int
        Number of prompts.
    characters : int
        Length of one prompt.
    count : int
        A count above this is absurd, and refused.
    """

    data_bytes: int = 64 * 1024
    inflated_bytes: int = 1024 * 1024
    prompts: int = 5_000
    characters: int = 500
    count: int = 10**9


class _Head(BaseModel):
    """What every version and kind begins with."""

    model_config = ConfigDict(strict=True)

    schema_version: PositiveInt
    kind: str


class _TextColumns(BaseModel):
    """Kind ``text``: prompts as words. `labels` and `domains` index `classes` and `domain_names`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    schema_version: Literal[1]
    kind: Literal["text"]
    partition: NonNegativeInt
    classes: list[str]
    class_counts: list[NonNegativeInt]
    domain_names: list[str]
    texts: list[str]
    labels: list[NonNegativeInt]
    domains: list[NonNegativeInt]
    counts: list[PositiveInt]


def encode(payload: PromptPayload) -> RecordDict:
    """Return the records that carry `payload`; equal payloads give equal bytes.

    Prompts travel in sorted order, so a payload survives the round trip exactly when its prompts are sorted.
    """
    prompts = sorted(payload.prompts)
    classes = sorted(set(payload.class_counts) | {p.label for p in prompts})
    domains = sorted({p.domain for p in prompts})
    columns = {
        "schema_version": payload.schema,
        "kind": "text",
        "partition": payload.partition,
        "classes": classes,
        "class_counts": [payload.class_counts.get(name, 0) for name in classes],
        "domain_names": domains,
        "texts": [p.text for p in prompts],
        "labels": [classes.index(p.label) for p in prompts],
        "domains": [domains.index(p.domain) for p in prompts],
        "counts": [p.count for p in prompts],
    }
    data = json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return RecordDict({RECORD_KEY: ConfigRecord({DATA_KEY: zlib.compress(data, level=9)})})


def decode(
    records: RecordDict, limits: Limits, classes: Collection[str], domains: Collection[str] = ()
) -> PromptPayload | Rejection:
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
    data = _inflate(records, limits)
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
    if head.kind != "text":
        return Rejection(f"unknown kind of payload {_quote(head.kind)}")
    try:
        columns = _TextColumns.model_validate_json(data)
    except ValidationError as error:
        return Rejection(f"malformed payload: {_first(error)}")
    return _rows(columns, limits, frozenset(classes), frozenset(domains))


def merge(payloads: Iterable[PromptPayload], clip: int) -> tuple[Prompt, ...]:
    """Return the prompts of all clients, equal ones merged with their counts summed, in sorted order.

    Parameters
    ----------
    payloads : iterable of PromptPayload
        One a client.
    clip : int
        A client's count of a prompt above this counts as this many, so that no single claim buys the whole budget.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    for payload in payloads:
        own: Counter[tuple[str, str, str]] = Counter()
        for p in payload.prompts:
            own[p.text, p.label, p.domain] += p.count
        counts.update({key: min(count, clip) for key, count in own.items()})
    return tuple(Prompt(*key, count=count) for key, count in sorted(counts.items()))


def _inflate(records: RecordDict, limits: Limits) -> bytes | Rejection:
    if set(records) != {RECORD_KEY} or not isinstance(records[RECORD_KEY], ConfigRecord):
        return Rejection(f"the reply must hold one ConfigRecord {RECORD_KEY!r} and nothing else")
    record: Any = records[RECORD_KEY]
    if set(record) != {DATA_KEY} or not isinstance(record[DATA_KEY], bytes):
        return Rejection(f"the record must hold bytes named {DATA_KEY!r} and nothing else")
    if len(record[DATA_KEY]) > limits.data_bytes:
        return Rejection(f"the payload has {len(record[DATA_KEY])} bytes, the limit is {limits.data_bytes}")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(record[DATA_KEY], limits.inflated_bytes + 1)
    except zlib.error:
        return Rejection("the payload is not zlib data")
    if len(data) > limits.inflated_bytes:
        return Rejection(f"the payload inflates beyond the limit of {limits.inflated_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        return Rejection("the payload's zlib data is cut short or has a tail")
    return data


def _rows(
    columns: _TextColumns, limits: Limits, classes: frozenset[str], domains: frozenset[str]
) -> PromptPayload | Rejection:
    size = len(columns.texts)
    if size > limits.prompts:
        return Rejection(f"the payload has {size} prompts, the limit is {limits.prompts}")
    if any(len(column) != size for column in (columns.labels, columns.domains, columns.counts)):
        return Rejection("the payload's columns differ in length")
    if len(columns.classes) != len(columns.class_counts) or len(set(columns.classes)) != len(columns.classes):
        return Rejection("the payload's class counts do not match its classes")
    if unknown := next((name for name in columns.classes if name not in classes), None):
        return Rejection(f"unknown class {_quote(unknown)}")
    if unknown := next((name for name in columns.domain_names if name and name not in domains), None):
        return Rejection(f"unknown domain {_quote(unknown)}")
    if any(count > limits.count for count in (*columns.counts, *columns.class_counts)):
        return Rejection(f"a count is above the limit of {limits.count}")
    if any(i >= len(columns.classes) for i in columns.labels):
        return Rejection("a label points to no class")
    if any(i >= len(columns.domain_names) for i in columns.domains):
        return Rejection("a domain points to no domain name")
    for text in columns.texts:
        if len(text) > limits.characters:
            return Rejection(f"a prompt has {len(text)} characters, the limit is {limits.characters}")
        if not text.strip():
            return Rejection("a prompt is empty")
        if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text):
            return Rejection(f"a prompt holds a control or invisible character: {_quote(text)}")
    prompts = tuple(
        Prompt(text, columns.classes[label], columns.domain_names[domain], count)
        for text, label, domain, count in zip(
            columns.texts, columns.labels, columns.domains, columns.counts, strict=True
        )
    )
    class_counts = {n: c for n, c in zip(columns.classes, columns.class_counts, strict=True) if c}
    return PromptPayload(columns.partition, prompts, class_counts, columns.schema_version)


def _quote(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _first(error: ValidationError) -> str:
    """Return the first complaint without the input, which may be megabytes of a stranger's text."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])[:80]
    return f"{where!a}: {problem['type']}" if where else problem["type"]
