"""Arrays on the wire of the prompt round: half-precision matrices whose size is known before they are touched.

Embeddings travel as one block of little-endian float16, each different vector once; their shape and the places of the
vectors stand in the payload's JSON. Learned tokens travel
in diffusers' own format, one ``learned_embeds.safetensors`` a token (Gal et al., arXiv 2208.01618), so that a file cut
out of a message can be loaded by any diffusers pipeline. Both are checked against their declared shape and dtype before
anything is allocated; what does not fit is told as a sentence, never raised.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

FLOAT16 = np.dtype("<f2")
LARGEST = 1000.0  # no text encoder's output or input comes near; beyond it half precision soon overflows
TOKEN_HEADER_LIMIT = 1024  # bytes: a file of one named matrix needs about 100


@dataclass(frozen=True, order=True)
class Vectors:
    """A matrix of float16, comparable and hashable.

    Attributes
    ----------
    rows, width : int
        Shape: tokens of a prompt or vectors of a learned token, and the width of the text encoder.
    data : bytes
        2 * rows * width bytes, little-endian, row by row.
    """

    rows: int
    width: int
    data: bytes

    @classmethod
    def of(cls, array: Any) -> Self:
        """Return a (rows, width) array in half precision.

        Raises
        ------
        ValueError
            If it is no matrix or holds values that half precision cannot.
        """
        half = np.asarray(array).astype(FLOAT16)
        if half.ndim != 2 or not half.size or (problem := values_fault(half)):
            raise ValueError(f"cannot send an array of shape {half.shape}: {problem if half.size else 'it is empty'}")
        return cls(half.shape[0], half.shape[1], half.tobytes())

    @property
    def array(self) -> np.ndarray:
        """(rows, width) float32."""
        return np.frombuffer(self.data, FLOAT16).reshape(self.rows, self.width).astype(np.float32)

    def split(self) -> list[bytes]:
        """Return the bytes of each row."""
        size = self.width * FLOAT16.itemsize
        return [self.data[start : start + size] for start in range(0, len(self.data), size)]


def values_fault(array: np.ndarray) -> str:
    """Return what is wrong with an array's values, or ""."""
    largest = float(np.abs(array, dtype=np.float32).max(initial=0.0))  # NaN wins every comparison of max
    if not math.isfinite(largest):
        return "holds NaN or infinity"
    return f"holds a value of {largest:.0f}, the limit is {LARGEST:.0f}" if largest > LARGEST else ""


def split_block(
    block: bytes, count: int, rows: int, width: int, places: Sequence[int] | None = None
) -> list[Vectors] | str:
    """Return `count` matrices of a block, or why it does not hold them.

    Parameters
    ----------
    block : bytes
        Rows of float16.
    count, rows, width : int
        Number of matrices, and the shape of each.
    places : sequence of int, optional
        Which row of the block is the next one of the matrices, `count * rows` of them, each row of the block used;
        by default they lie there in order.
    """
    size = width * FLOAT16.itemsize
    places = range(count * rows) if places is None else places
    if len(places) != count * rows:
        return f"{count} arrays of {rows} x {width} need {count * rows} vectors, {len(places)} are named"
    different = len(set(places))
    if len(block) != different * size or max(places, default=-1) >= different:
        return f"{different} vectors of width {width} need {different * size} bytes, there are {len(block)}"
    if problem := values_fault(np.frombuffer(block, FLOAT16)):
        return problem
    lines = [block[i * size : (i + 1) * size] for i in range(different)]
    chosen = [b"".join(lines[place] for place in places[i * rows : (i + 1) * rows]) for i in range(count)]
    return [Vectors(rows, width, data) for data in chosen]


def to_learned_embeds(token: str, vectors: Vectors) -> bytes:
    """Return the bytes of a ``learned_embeds.safetensors`` for a token."""
    from safetensors.numpy import save

    array = np.frombuffer(vectors.data, FLOAT16).reshape(vectors.rows, vectors.width)
    return save({token: array}, metadata={"format": "pt"})


def from_learned_embeds(file: bytes, rows_limit: int, width_limit: int) -> tuple[str, Vectors] | str:
    """Return token and vectors of a ``learned_embeds.safetensors``, or why it is refused.

    Parameters
    ----------
    file : bytes
        As received. Its header is read as JSON and compared with the file's size; the data is then only sliced.
    rows_limit, width_limit : int
        Largest number of vectors and width.
    """
    length = int.from_bytes(file[:8], "little")
    if len(file) < 8 or length > min(TOKEN_HEADER_LIMIT, len(file) - 8):
        return "a learned token's file has no header or one beyond the limit"
    try:
        header = json.loads(file[8 : 8 + length])
    except (ValueError, RecursionError):
        return "a learned token's header is no JSON"
    if not isinstance(header, dict):
        return "a learned token's header is no JSON object"
    header.pop("__metadata__", None)
    if len(header) != 1:
        return f"a learned token's file must hold one array, not {len(header)}"
    ((token, entry),) = header.items()
    data = file[8 + length :]
    match entry:
        case {"dtype": "F16", "shape": [int(rows), int(width)], "data_offsets": [0, int(end)], **rest} if (
            not rest
            and 0 < rows <= rows_limit
            and 0 < width <= width_limit
            and end == len(data) == rows * width * FLOAT16.itemsize
        ):
            if problem := values_fault(np.frombuffer(data, FLOAT16)):
                return problem
            return token, Vectors(rows, width, data)
    return f"a learned token must be one float16 matrix of at most {rows_limit} x {width_limit}, whole and alone"
