"""Transfer: how a model trained on synthetic images does on the clients' real ones, class by class, as they say."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fgl_flower.levels.auto import UNKNOWN
from strategies.gate import BY_CLASS_MESSAGE, RIGHT, TOTAL

_LEARNED = 0.8  # of a class's synthetic images, where the model has learned what they show
_Z = 1.96  # of a 95 % interval


def questions(grid: Grid, arrays: ArrayRecord, number: int) -> list[Message]:
    """Return the messages that ask every client how the model of a round does on its images, by class."""
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": number})})
    return [Message(content, node, BY_CLASS_MESSAGE) for node in grid.get_node_ids()]


@dataclass(frozen=True)
class Transfer:
    """Images of each class, summed over the clients that answered.

    Attributes
    ----------
    classes : tuple of str
    right, total : numpy.ndarray
        (C,) int64: those that the model gets right, and all of them.
    """

    classes: tuple[str, ...]
    right: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, classes: Sequence[str], replies: Iterable[Message]) -> "Transfer":
        """Return the sum of what replies to `BY_CLASS_MESSAGE` say; those of another length count nothing."""
        right, total = np.zeros((2, len(classes)), dtype=np.int64)
        for reply in replies:
            if reply.has_error():
                continue
            metrics: Any = reply.content["metrics"]
            right += np.asarray(metrics[RIGHT], dtype=np.int64)
            total += np.asarray(metrics[TOTAL], dtype=np.int64)
        return cls(tuple(classes), right, total)

    @property
    def overall(self) -> float:
        """Share of all images that is right, 0..1; 0 without images."""
        return int(self.right.sum()) / max(1, int(self.total.sum()))

    def share(self, name: str) -> float | None:
        """Return the share of a class that is right, 0..1; None where no client has an image of it."""
        i = self.classes.index(name)
        return int(self.right[i]) / int(self.total[i]) if self.total[i] else None

    def figures(self) -> dict[str, dict[str, int]]:
        """Return ``right`` and ``total`` by class, of classes that clients hold."""
        rows = zip(self.classes, self.right.tolist(), self.total.tolist(), strict=True)
        return {name: {RIGHT: right, TOTAL: total} for name, right, total in rows if total}

    def unknown(self) -> list[str]:
        """Return the classes of which surely less than half is right, by the upper end of Wilson's 95 % interval."""
        return [name for name, counts in self.figures().items() if _upper(counts[RIGHT], counts[TOTAL]) < UNKNOWN]

    def warnings(self, learned: Mapping[str, float]) -> list[str]:
        """Return sentences on the classes of which the model gets surely less than half right; none without any.

        `learned` is the share of a class's synthetic images that the model gets right. Where it is high, the generator
        draws something else than clients have; where it is not, it draws classes alike, or training was too short.
        """
        unknown = self.unknown()
        other = [name for name in unknown if learned[name] >= _LEARNED]
        alike = [name for name in unknown if name not in other]
        hint = "another prompt-level may tell the generator what they show ('auto' finds out)"
        sentences = []
        if other:
            sentences.append(
                f"{self._listed(other)}, though it has learned their synthetic images: the generator draws something "
                f"else than clients have; {hint}"
            )
        if alike:
            sentences.append(
                f"{self._listed(alike)}, and it has not learned their synthetic images either: the generator draws "
                f"classes alike, or training was too short; {hint}"
            )
        return sentences

    def _listed(self, names: Sequence[str]) -> str:
        shown = ", ".join(f"{name!r} ({self.share(name):.0%})" for name in names[:5])
        shown += ", ..." if len(names) > 5 else ""
        of = f"{len(names)} of {len(self.classes)} classes"
        return f"the model gets less than half of the clients' images right of {of}: {shown}"


def _upper(right: int, total: int) -> float:
    share = right / total
    middle = share + _Z**2 / (2 * total)
    return (middle + _Z * math.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))) / (1 + _Z**2 / total)
