"""What the pages and files of a table say about tuned values."""

import math
from collections.abc import Sequence


def at_an_end(value: float, grid: Sequence[float]) -> bool:
    """Return whether `value` is the smallest or largest of a grid of at least two: a better one may lie beyond."""
    return len(set(grid)) > 1 and any(math.isclose(value, end) for end in (min(grid), max(grid)))
