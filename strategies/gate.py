"""The gate: no reply reaches a strategy unless it is what was asked for.

Flower's FedAvg takes NaN arrays, negative or huge ``num-examples``, and arrays whose npy header lies about their shape
(128 bytes can ask for terabytes). The gate refuses all of these. Nothing of an array is deserialised to find out: the
bytes must begin with the very header that NumPy writes for the global model's own array and be exactly as long, so
only then are they looked at, in place.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fgl_flower.wire.ballot import asked_for
from fgl_flower.wire.codec import decode
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.npy import header
from fgl_flower.wire.payload import PromptPayload, Rejection, Unchanged

MODEL_MESSAGE = "query.model"  # carries the final model; its reply is empty or tells the node's versions
NUM_EXAMPLES, PARTITION = "num-examples", "partition-id"
SKIPPED = "skipped"  # unreadable images that the client left out; a reply may report it
BY_CLASS_MESSAGE = "evaluate.by_class"  # asks how the model does on a client's images, class by class
RIGHT, TOTAL = "right", "total"  # its reply: images of each class that the model gets right, and all of them
# A reply to each category of message: which metrics it reports, and whether it carries the model.
_METRICS = {
    "train": frozenset({NUM_EXAMPLES, PARTITION, "loss"}),
    "evaluate": frozenset({NUM_EXAMPLES, PARTITION, "loss", "accuracy"}),
}
_DIVERGED = " (if its training diverged, lower local-lr)"
_MOST_VERSIONS, _VERSION_LENGTH = 64, 60
_ABSURD = 2**31  # examples: no client holds as many, a claim of them is an attack or an accident


@dataclass(frozen=True)
class Admitted:
    """A reply that passed.

    Attributes
    ----------
    partition_id : int or None
        Which partition the client says it holds; None where the reply does not say.
    content : RecordDict
        What strategies may see: ``num-examples`` clipped, ``partition-id`` and ``skipped`` taken out (a mean of ids
        means nothing).
    num_examples : int or None
        The clipped claim; None for a prompt payload.
    skipped : int or None
        Unreadable images that the client says it left out; None where the reply does not say.
    payload : PromptPayload or Unchanged or None
        What a reply to a prompt round holds, decoded.
    """

    partition_id: int | None
    content: RecordDict
    num_examples: int | None
    skipped: int | None = None
    payload: PromptPayload | Unchanged | None = None


@dataclass(frozen=True)
class Gate:
    """Checks replies against what the server itself knows.

    Parameters
    ----------
    arrays : ArrayRecord
        The global model: names, order, shapes and dtypes of every reply to ``train``.
    clients : int
        Partition ids are below this.
    classes, domains : collections of str
        The federation's names.
    limits : Limits
        Bounds of a prompt payload.
    max_examples : int
        A claim of more examples counts as this many.
    losses : bool
        Whether a reply to ``train`` reports the loss of its training; under `dp-epsilon` it must not.
    """

    arrays: ArrayRecord
    clients: int
    classes: Collection[str]
    domains: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)
    max_examples: int = 100_000
    losses: bool = True

    def check(self, message_type: str, reply: Message, asked: RecordDict | None = None) -> Admitted | Rejection:
        """Return the reply's clean content, or why it is refused.

        Parameters
        ----------
        message_type : str
            Type of the message that was sent, e.g. ``query.prompts``; what the reply says of itself does not count.
        reply : Message
            A reply with content (error replies are failures, not for the gate to judge).
        asked : RecordDict, optional
            Content of the message that was sent: where it holds candidates, the reply must vote on these and no others.
        """
        if message_type == "query.prompts":
            payload = decode(reply.content, self.limits, self.classes, self.domains)
            if isinstance(payload, Rejection):
                return payload
            if payload.partition_id >= self.clients:
                return Rejection(f"partition {payload.partition_id} is not one of {self.clients}")
            candidates = asked_for(asked) if asked is not None else 0
            votes = len(payload.votes) if isinstance(payload, PromptPayload) else 0
            if votes != candidates:
                return Rejection(f"the reply votes on {votes} candidates, the question holds {candidates}")
            skipped = payload.skipped if isinstance(payload, PromptPayload) else None
            return Admitted(payload.partition_id, reply.content, None, skipped, payload)
        if message_type == MODEL_MESSAGE:
            return self._check_acknowledgement(reply.content)
        if message_type == BY_CLASS_MESSAGE:
            return self._check_by_class(reply.content)
        category = message_type.split(".")[0]
        if category not in _METRICS:
            return Rejection("no reply of this type is known")
        return self._check_model_reply(category, reply.content)

    def _check_acknowledgement(self, content: RecordDict) -> Admitted | Rejection:
        if not content:
            return Admitted(None, content, 0)
        told: Any = content.get("versions")
        if set(content) != {"versions"} or not isinstance(told, ConfigRecord) or len(told) > _MOST_VERSIONS:
            return Rejection("an acknowledgement must be empty, or tell versions and nothing else")
        for text in (*told, *told.values()):
            if not isinstance(text, str) or len(text) > _VERSION_LENGTH or not (text.isascii() and text.isprintable()):
                return Rejection(f"names and versions must be printable ASCII of at most {_VERSION_LENGTH} characters")
        return Admitted(None, content, 0)

    def _check_model_reply(self, category: str, content: RecordDict) -> Admitted | Rejection:
        expected = {"metrics": MetricRecord} | ({"arrays": ArrayRecord} if category == "train" else {})
        if {name: type(record) for name, record in content.items()} != expected:
            return Rejection(f"the reply must hold exactly the records {sorted(expected)} of their kinds")
        metrics: Any = content["metrics"]
        if reason := self._metrics_fault(category, metrics):
            return Rejection(reason)
        clean = dict(metrics)
        partition_id, skipped = clean.pop(PARTITION), clean.pop(SKIPPED, None)
        clean[NUM_EXAMPLES] = min(clean[NUM_EXAMPLES], self.max_examples)
        records: dict[str, Any] = {"metrics": MetricRecord(clean)}
        if category == "train":
            arrays: Any = content["arrays"]
            if reason := self._arrays_fault(arrays):
                return Rejection(reason)
            records = {"arrays": arrays, **records}
        return Admitted(partition_id, RecordDict(records), clean[NUM_EXAMPLES], skipped)

    def _check_by_class(self, content: RecordDict) -> Admitted | Rejection:
        if {name: type(record) for name, record in content.items()} != {"metrics": MetricRecord}:
            return Rejection("the reply must hold the record ['metrics'] and nothing else")
        metrics: Any = content["metrics"]
        if set(metrics) - {SKIPPED} != {NUM_EXAMPLES, PARTITION, RIGHT, TOTAL}:
            return Rejection(f"the reply must report {sorted([NUM_EXAMPLES, PARTITION, RIGHT, TOTAL])} and no more")
        if reason := self._counts_fault(metrics):
            return Rejection(reason)
        right, total = metrics[RIGHT], metrics[TOTAL]
        for name, counts in ((RIGHT, right), (TOTAL, total)):
            if not isinstance(counts, list) or len(counts) != len(self.classes):
                return Rejection(f"{name} must be a list of {len(self.classes)} numbers, one a class")
            if not all(type(count) is int for count in counts):
                return Rejection(f"{name} must hold whole numbers")
        if not all(0 <= r <= t for r, t in zip(right, total, strict=True)) or sum(total) != metrics[NUM_EXAMPLES]:
            return Rejection("right must be 0 to total in each class, and the totals sum up to num-examples")
        # A huge claim would outvote everyone: scaled down, it counts as max_examples images of the same classes.
        scale = max(self.max_examples, sum(total))
        clean: dict[str, Any] = {RIGHT: [r * self.max_examples // scale for r in right]}
        clean[TOTAL] = [max(t * self.max_examples // scale, r) for t, r in zip(total, clean[RIGHT], strict=True)]
        return Admitted(
            metrics[PARTITION], RecordDict({"metrics": MetricRecord(clean)}), sum(clean[TOTAL]), metrics.get(SKIPPED)
        )

    def _metrics_fault(self, category: str, metrics: MetricRecord) -> str:
        expected = _METRICS[category] - (set() if self.losses or category != "train" else {"loss"})
        if set(metrics) - {SKIPPED} != expected:
            return f"the reply must report {sorted(expected)}, may report {SKIPPED!r}, and nothing else"
        if reason := self._counts_fault(metrics):
            return reason
        for name in expected - {NUM_EXAMPLES, PARTITION}:
            value = metrics[name]
            if isinstance(value, list):
                return f"{name} must be one finite number, not {repr(value)[:40]}"
            if not math.isfinite(value):
                return f"{name} must be one finite number, not {value}{_DIVERGED}"
        return ""

    def _counts_fault(self, metrics: MetricRecord) -> str:
        for name, bound in ((NUM_EXAMPLES, _ABSURD), (PARTITION, self.clients), (SKIPPED, _ABSURD)):
            value = metrics.get(name, 0)
            if type(value) is not int or not 0 <= value < bound:
                return f"{name} must be a whole number from 0 to {bound - 1}, not {repr(value)[:40]}"
        return ""

    def _arrays_fault(self, arrays: ArrayRecord) -> str:
        # Order counts too: some of Flower's strategies (FedAvgM) pair arrays by position.
        if list(arrays) != list(self.arrays):
            return "the arrays' names are not the global model's"
        for name, own in self.arrays.items():
            if reason := _array_fault(arrays[name], own):
                return f"array {name!r} {reason}"
        return ""


def _array_fault(array: Array, own: Array) -> str:
    if array.stype != own.stype or array.dtype != own.dtype or tuple(array.shape) != tuple(own.shape):
        return "has another serialisation, dtype or shape than the global model's"
    start = header(own.dtype, tuple(own.shape))
    dtype = np.dtype(own.dtype)
    if len(array.data) != len(start) + math.prod(own.shape) * dtype.itemsize or not array.data.startswith(start):
        return "holds other bytes than its shape and dtype ask for"
    if not np.isfinite(np.frombuffer(array.data, dtype, offset=len(start))).all():
        return f"holds NaN or infinity{_DIVERGED}"
    return ""
