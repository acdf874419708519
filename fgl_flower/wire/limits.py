"""Bounds of what one client may send in the prompt round: bytes, prompts, characters, tokens, counts.

The decoder (`fgl_flower.wire.codec`) holds every reply against them before it spends memory on it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "embeddings", "tokens", "votes"]

SIMULATED = "simulated: "  # how the error reply of a client begins that is away or late only by the run's own wish
FIXED_WEIGHTS = "model-revision"  # beside a model in a message: what stands for its weights that do not travel


def rough_tokens(text: str) -> int:
    """Return a high guess of a text's tokens: one for each mark and each four letters of a word."""
    return len(re.findall(r"\w{1,4}|[^\w\s]", text)) + 2


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
    prompt_tokens, tokens : int
        Tokens of one prompt and of all of a client's.
    count_tokens : callable
        The generator's own count of a text's tokens, where there is one.
    kind : str
        The kind that the run asks for; only an empty ``text`` may come in its stead. "any": whatever kind comes.
    array_bytes : int
        Size of all embeddings or learned tokens, in bytes.
    embedding : (int, int), optional
        Shape of the generator's prompt embedding, (tokens, width); None: any.
    token_vectors, token_width : int
        Shape of one learned token; width 0: any. That of a generator of several text encoders is the sum of theirs.
    votes : int
        Numbers in an answer to candidates.
    """

    data_bytes: int = 64 * 1024
    inflated_bytes: int = 1024 * 1024
    prompts: int = 5_000
    characters: int = 500
    count: int = 10**9
    prompt_tokens: int = 256
    tokens: int = 200_000
    count_tokens: Callable[[str], int] = rough_tokens
    kind: Kind | Literal["any"] = "text"
    array_bytes: int = 16 * 1024 * 1024
    embedding: tuple[int, int] | None = None
    token_vectors: int = 16
    token_width: int = 0
    votes: int = 10_000
