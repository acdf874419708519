"""What clients vote on: the features of candidates, and which of them stand for which class.

It travels as a ``ConfigRecord`` beside the question's ``config``. A client compares each of its images with the
candidates of the image's class and replies with one number for each pair of class and candidate, in the ballot's order.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from flwr.app import ConfigRecord, RecordDict

from fgl_flower.errors import ConfigError
from fgl_flower.wire.vectors import FLOAT16, Vectors, values_fault

__all__ = ["RECORD", "Ballot", "asked_for"]

RECORD = "ballot"
LARGEST_BYTES = 2**28  # of the candidates' features


@dataclass(frozen=True)
class Ballot:
    """Candidates to vote on.

    Attributes
    ----------
    round : int
        Number of the vote in the run, from 0.
    classes : tuple of str
        In order; a class that is not among them is not voted on.
    members : tuple of tuple of int
        Of each class the rows of `features` that are its candidates, at least one.
    features : Vectors
        (candidates, width): the mean features of each candidate's images, times `scale`.
    scale : Vectors
        (1, width): what the features of an image are multiplied by before they are compared.
    """

    round: int
    classes: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    features: Vectors
    scale: Vectors

    @cached_property
    def size(self) -> int:
        """Numbers in a reply."""
        return sum(map(len, self.members))

    @property
    def starts(self) -> list[int]:
        """Where in a reply the numbers of each class begin."""
        return np.cumsum([0, *map(len, self.members)])[:-1].tolist()

    def to_record(self) -> ConfigRecord:
        """Return the record that carries it."""
        return ConfigRecord(
            {
                "round": self.round,
                "classes": list(self.classes),
                "counts": [len(rows) for rows in self.members],
                "members": [row for rows in self.members for row in rows],
                "width": self.features.width,
                "features": self.features.data,
                "scale": self.scale.data,
            }
        )

    @classmethod
    def of(cls, content: RecordDict) -> Self | None:
        """Return the ballot in a message; None: it holds none.

        Raises
        ------
        ConfigError
            If what it holds is no ballot.
        """
        if RECORD not in content.config_records:
            return None
        told: Any = content.config_records[RECORD]
        try:
            ballot = cls._read(told)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the server's candidates cannot be read: {type(error).__name__}") from None
        if why := ballot._fault():
            raise ConfigError(f"the server's candidates cannot be read: {why}")
        return ballot

    @classmethod
    def _read(cls, told: Any) -> Self:
        width, data = int(told["width"]), bytes(told["features"])
        ends = np.cumsum([int(count) for count in told["counts"]]).tolist()
        flat = [int(row) for row in told["members"]]
        if width < 1 or len(data) > LARGEST_BYTES or len(data) % (width * FLOAT16.itemsize) or ends[-1:] != [len(flat)]:
            raise ValueError
        members = tuple(tuple(flat[start:end]) for start, end in zip([0, *ends], ends, strict=False))
        rows = len(data) // (width * FLOAT16.itemsize)
        classes = tuple(str(name) for name in told["classes"])
        return cls(
            int(told["round"]), classes, members, Vectors(rows, width, data), Vectors(1, width, bytes(told["scale"]))
        )

    def _fault(self) -> str:
        if len(self.classes) != len(self.members) or len(set(self.classes)) != len(self.classes):
            return "classes and candidates do not match"
        if any(not 0 <= row < self.features.rows for rows in self.members for row in rows):
            return "a class names candidates that are not there"
        if not all(self.members):
            return "a class has no candidate"
        if len(self.scale.data) != self.features.width * FLOAT16.itemsize:
            return "the scale has another width than the features"
        return values_fault(np.frombuffer(self.features.data + self.scale.data, FLOAT16))


def asked_for(content: RecordDict) -> int:
    """Return how many numbers a message asks for that a server made; 0: it holds no ballot."""
    record: Any = content.config_records.get(RECORD)
    return len(record["members"]) if record is not None else 0
