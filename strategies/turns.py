"""Children that take turns: next is whose (taken + 1/2) / weight is smallest, in order where these are equal.

With equal weights this is round robin, with others Sainte-Lague's method of the largest quotient. Nothing is queued:
how often each child comes in the next `count` turns follows from the quotients alone, so a billion turns cost no more
than ten.
"""

from collections.abc import Sequence
from typing import Union

import numpy as np

_FEW = 16  # turns that are sorted one by one at the end of a bisection, besides four a child


class Turns:
    """Turns of children that are groups of turns themselves, or items.

    Parameters
    ----------
    children : sequence of (int or Turns)
        Items, numbered from 0, or groups; not mixed.
    weights : sequence of float
        Of each child, > 0.
    taken : sequence of int, optional
        Turns that each child is taken to have had beforehand.
    """

    def __init__(
        self, children: Sequence[Union[int, "Turns"]], weights: Sequence[float], taken: Sequence[int] | None = None
    ) -> None:
        self.groups = [child for child in children if isinstance(child, Turns)]
        self.items = np.array([child for child in children if not isinstance(child, Turns)], dtype=np.int64)
        self.weights = np.asarray(weights, dtype=np.float64)
        self.taken = np.asarray(taken if taken is not None else [0] * len(children), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.groups) or len(self.items)

    def counts(self, count: int, into: np.ndarray) -> None:
        """Add to `into`, by item, how often each comes in the next `count` turns."""
        if not count:
            return
        shares = self._shares(count)
        if self.groups:
            for group, share in zip(self.groups, shares.tolist(), strict=True):
                group.counts(share, into)
        else:
            into[self.items] += shares

    def order(self, count: int) -> np.ndarray:
        """Return the items of the next `count` turns, (count,) int64."""
        shares = self._shares(count)
        child = np.repeat(np.arange(len(self)), shares)
        turn = np.concatenate([np.arange(t, t + n) for t, n in zip(self.taken, shares, strict=True)])
        child = child[np.lexsort((child, (turn + 0.5) / self.weights[child]))]
        if not self.groups:
            return self.items[child]
        result = np.empty(count, dtype=np.int64)
        parts = [group.order(n) for group, n in zip(self.groups, shares.tolist(), strict=True) if n]
        result[np.argsort(child, kind="stable")] = np.concatenate(parts)
        return result

    def advance(self, times: np.ndarray) -> int:
        """Note how often each item has come, and return the sum of it over this group."""
        if self.groups:
            taken = np.array([group.advance(times) for group in self.groups], dtype=np.int64)
        else:
            taken = times[self.items]
        self.taken += taken
        return int(taken.sum())

    def drop(self, gone: np.ndarray) -> None:
        """Take out items for good, by item a bool, and the groups that they leave empty."""
        for group in self.groups:
            group.drop(gone)
        kept = np.array([len(group) > 0 for group in self.groups]) if self.groups else ~gone[self.items]
        self.groups = [group for group in self.groups if len(group)]
        self.items = self.items if self.groups or not len(self.items) else self.items[kept]
        self.weights, self.taken = self.weights[kept], self.taken[kept]

    def _shares(self, count: int) -> np.ndarray:
        """Return how many of the next `count` turns each child gets, (children,) int64."""
        few = 4 * len(self) + _FEW
        # Were none taken, the quotient of the last turn would be within half a turn a child of this:
        quotient = (count + int(self.taken.sum())) / self.weights.sum()
        margin = (len(self) + 1) / self.weights.sum()
        low, high = quotient - margin, quotient + margin
        while self._until(low).sum() >= count:
            low -= margin
            margin *= 2
        while self._until(high).sum() < count:
            high += margin
            margin *= 2
        least, most = self._until(low), self._until(high)
        while (most - least).sum() > few and low < (middle := (low + high) / 2) < high:
            result = self._until(middle)
            if result.sum() < count:
                low, least = middle, result
            else:
                high, most = middle, result
        child = np.repeat(np.arange(len(self)), most - least)
        first = self.taken + least
        turn = np.concatenate([np.arange(f, f + n) for f, n in zip(first, most - least, strict=True)])
        order = np.lexsort((child, (turn + 0.5) / self.weights[child]))[: count - int(least.sum())]
        return least + np.bincount(child[order], minlength=len(self))

    def _until(self, quotient: float) -> np.ndarray:
        """Return how many further turns each child has up to a quotient, (children,) int64."""
        turns = np.maximum(np.floor(quotient * self.weights + 0.5), self.taken)
        turns += (turns + 0.5) / self.weights <= quotient  # rounding may have been off by one, either way
        turns -= (turns > self.taken) & ((turns - 0.5) / self.weights > quotient)
        return turns.astype(np.int64) - self.taken
