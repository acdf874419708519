"""What a client may tell the server in a prompt round, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fgl_flower.wire.limits import Kind
from fgl_flower.wire.vectors import Vectors

SCHEMA_VERSION = 1
FEDERATION = -1
"""Partition of a payload that no client sent alone: what the server makes of the votes of all of them."""


@dataclass(frozen=True, order=True)
class Prompt:
    """One prompt and the number of private images that it stands for.

    Attributes
    ----------
    text : str
        What the generator is told; of a payload of embeddings, the name of one.
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
    partition_id : int
        The client's partition, 0 to clients - 1.
    prompts : tuple of Prompt
        Empty at the ``names`` level and for a client without images.
    class_counts : dict of str to int
        Images of each class that the client claims to hold; classes it does not hold are left out.
    schema : int
        Version of the wire format.
    kind : str
        One of `Kind`; a client that has nothing to say sends an empty ``text``.
    arrays : mapping of str to Vectors
        Kind ``embeddings``: by prompt text, all of one shape. Kind ``tokens``: by token. Else empty.
    skipped : int
        Unreadable images that the client left out.
    seconds : int
        What learning took the client, 0 where it learned nothing; the same prompts may take another time.
    level : str
        The level of the prompts where the owner's rules forbid the one asked for; else empty.
    held_back : int
        Prompts that the owner's rules keep back.
    votes : tuple of int
        Kind ``votes``: images that are nearest to each candidate of the question, in its order; with noise, any whole
        numbers. Else empty.
    """

    partition_id: int
    prompts: tuple[Prompt, ...] = ()
    class_counts: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION
    kind: Kind = "text"
    arrays: Mapping[str, Vectors] = field(default_factory=dict)
    skipped: int = 0
    seconds: int = field(default=0, compare=False)
    level: str = ""
    held_back: int = 0
    votes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unchanged:
    """What a client sends instead of a payload when asked again with the same data; see the module.

    Attributes
    ----------
    partition_id : int
        The client's partition, 0 to clients - 1.
    """

    partition_id: int


@dataclass(frozen=True)
class Rejection:
    """Why a reply is refused, in one sentence that is safe to log (client text is cut and escaped)."""

    reason: str


def token_of(name: str) -> str:
    """Return the learned token that stands for a class or domain."""
    return f"<{name.replace(' ', '-')}>"
