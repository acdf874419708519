"""Clients that fail: who, when and why, and the whole errors of simulated ones."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from fgl_flower.records.result import Failure

MOST_ERRORS = 100  # kept whole: a run of thousands of clients may have one each
_HEAD = re.compile(r"client (\d+) in \S+: ")  # how `clients.client_app.simulated` begins an error


class Failures:
    """Counts failures by node and reason, in memory that grows by a number for each."""

    def __init__(self) -> None:
        self._rounds: dict[tuple[int, str], list[int]] = {}

    def add(self, node: int, reason: str, server_round: int) -> None:
        """Note that a node failed in a round."""
        self._rounds.setdefault((node, reason), []).append(server_round)

    @classmethod
    def of(cls, entries: Iterable[tuple[int, str, list[int]]]) -> Self:
        """Return those of `snapshot`."""
        result = cls()
        result._rounds = {(node, reason): list(rounds) for node, reason, rounds in entries}
        return result

    def snapshot(self) -> list[tuple[int, str, list[int]]]:
        """Return node, reason and rounds of each."""
        return [(node, reason, rounds) for (node, reason), rounds in self._rounds.items()]

    def by_client(self, name: Callable[[int], str]) -> list[Failure]:
        """Return an entry for each client and reason, clients in their order; `name` gives a node's name by now."""
        rounds: dict[tuple[str, str], set[int]] = {}
        for (node, reason), numbers in self._rounds.items():
            rounds.setdefault((name(node), reason), set()).update(numbers)
        return Failure.listed(rounds)


class ClientErrors:
    """Keeps the tracebacks of simulated clients in a file, each different one once.

    A deployed client's traceback stays in its owner's log; in a simulation the owner of all clients is who started it.

    Parameters
    ----------
    path : Path
        The file; made with the first error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: set[str] = set()

    def take(self, text: str) -> tuple[int | None, str]:
        """Keep an error reply's text and return the partition that it names, if any, and the error without it."""
        head = _HEAD.match(text)
        error = text[head.end() :] if head else text
        if "\n" in error.strip() and error not in self._seen and len(self._seen) < MOST_ERRORS:
            self._seen.add(error)
            # What cannot be written is not worth the run: the reason is in the result anyway.
            with suppress(OSError), self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text.strip() + "\n\n")
        return (int(head[1]) if head else None), error
