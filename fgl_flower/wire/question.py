"""What the server asks in a prompt round: by default what the run's configuration says, of everything a client holds.

It travels in the ``config`` record of the message, beside Flower's ``server-round``; candidates to vote on in a record
of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from flwr.app import ConfigRecord

from fgl_flower.wire.ballot import RECORD, Ballot

LEVEL, CLASSES, UNNAMED, MAX_BYTES = "prompt-level", "classes", "unnamed", "max-bytes"


@dataclass(frozen=True)
class Question:
    """A question to one client.

    Attributes
    ----------
    level : str
        Prompt level to answer at; empty: the run's.
    classes : tuple of str
        Classes to speak of; empty: all that the client holds.
    unnamed : tuple of str
        Classes whose names are left out of prompts made of captions: the generator cannot read them, or means something
        else by them.
    max_bytes : int
        Size of the reply at most; 0: no limit of its own.
    ballot : Ballot, optional
        Candidates to vote on.
    """

    level: str = ""
    classes: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    max_bytes: int = 0
    ballot: Ballot | None = None

    def records(self) -> dict[str, ConfigRecord]:
        """Return what travels beside the ``config`` record, by name."""
        return {RECORD: self.ballot.to_record()} if self.ballot else {}

    def to_config(self) -> dict[str, Any]:
        """Return the entries of the ``config`` record; nothing for what is as by default."""
        entries = {
            LEVEL: self.level,
            CLASSES: list(self.classes),
            UNNAMED: list(self.unnamed),
            MAX_BYTES: self.max_bytes,
        }
        return {key: value for key, value in entries.items() if value}

    @classmethod
    def of(cls, config: Mapping[str, Any], ballot: Ballot | None = None) -> Self:
        """Return the question in a ``config`` record, and the candidates beside it."""
        return cls(
            str(config.get(LEVEL, "")),
            tuple(config.get(CLASSES, ())),
            tuple(config.get(UNNAMED, ())),
            int(config.get(MAX_BYTES, 0)),
            ballot,
        )
