"""What a reader of a run's figures must know: failed and quarantined clients, images left out, warnings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fgl_flower.records.reading import Run
from fgl_flower.records.result import Failure
from fgl_flower.report.formatting import ranges, shortened

REASON_LENGTH = 110  # characters of a reason in a sentence


@dataclass(frozen=True)
class Lost:
    """Clients that were lost for one reason, in the same rounds.

    Attributes
    ----------
    clients : tuple of str
        Partitions, or 'node ID' where these are unknown.
    rounds : tuple of int
        Empty: in all rounds from some point on (quarantined).
    reason : str
    """

    clients: tuple[str, ...]
    rounds: tuple[int, ...]
    reason: str

    @property
    def who(self) -> str:
        """Return 'client 3', 'clients 0-2, 5' or 'node 812'."""
        numbers = [int(client) for client in self.clients if client.isdecimal()]
        named = [f"client{'s' if len(numbers) > 1 else ''} {ranges(numbers)}"] if numbers else []
        return ", ".join([*named, *shortened([c for c in self.clients if not c.isdecimal()], 3, "nodes")])

    @property
    def when(self) -> str:
        """Return 'round 3' or 'rounds 1-6'; empty without rounds."""
        return f"round{'s' if len(self.rounds) > 1 else ''} {ranges(self.rounds)}" if self.rounds else ""

    def __str__(self) -> str:
        cut = self.reason if len(self.reason) <= REASON_LENGTH else self.reason[:REASON_LENGTH] + "..."
        return " ".join(filter(None, [self.who, self.when and f"in {self.when}", f"({cut})"]))


@dataclass(frozen=True)
class Problems:
    """The problems of one run; false if there are none.

    Attributes
    ----------
    clients : int
        Clients of the federation.
    failures : tuple of Failure
    quarantined : mapping of str to str
        Reason by client.
    skipped : mapping of str to int
        Unreadable images left out, by owner.
    warnings : tuple of str
    """

    clients: int
    failures: tuple[Failure, ...]
    quarantined: Mapping[str, str]
    skipped: Mapping[str, int]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> "Problems":
        """Return the problems of a run, of one without a result those that its events tell."""
        result, events = run.result, run.events
        refused = [event for event in events if event.get("event") == "quarantine"]
        return cls(
            clients=run.config.clients,
            # Results of earlier versions have no list of failures, but their runs have the events.
            failures=tuple(result.failures if result and result.failures else _from_events(events)),
            quarantined=result.quarantined if result else {str(e.get("client")): str(e.get("reason")) for e in refused},
            skipped=result.skipped if result else {},
            warnings=tuple(
                result.warnings if result else (str(e.get("text")) for e in events if e.get("event") == "warning")
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.failures or self.quarantined or self.skipped or self.warnings)

    @property
    def failed(self) -> list[Lost]:
        """Return the failures, those together that have reason and rounds in common, the largest loss first."""
        together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for failure in self.failures:
            together.setdefault((failure.reason, tuple(failure.rounds)), []).append(failure.client)
        result = [Lost(tuple(clients), rounds, reason) for (reason, rounds), clients in together.items()]
        return sorted(result, key=lambda lost: -len(lost.clients) * len(lost.rounds))

    @property
    def refused(self) -> list[Lost]:
        """Return the quarantined clients, those together that have the reason in common."""
        together: dict[str, list[str]] = {}
        for client, reason in self.quarantined.items():
            together.setdefault(reason, []).append(client)
        return [Lost(tuple(clients), (), reason) for reason, clients in together.items()]

    def sentences(self, most: int = 3) -> list[str]:
        """Return one sentence a kind of problem, each with at most so many of its details."""
        sentences = []
        if self.failures:
            names = {failure.client for failure in self.failures}
            sentences.append(f"{self._share(names)} failed: {'; '.join(shortened(self.failed, most))}")
        if self.quarantined:
            verb = "was" if len(self.quarantined) == 1 else "were"
            listed = "; ".join(shortened(self.refused, most))
            sentences.append(f"{self._share(self.quarantined)} {verb} quarantined: {listed}")
        if self.skipped:
            total = sum(self.skipped.values())
            owners = [f"{count:,} of {owner}" for owner, count in self.skipped.items()]
            listed = ", ".join(shortened(owners, 2 * most))
            sentences.append(f"{total:,} unreadable image{'s were' if total > 1 else ' was'} left out: {listed}")
        return [*sentences, *self.warnings]

    def _share(self, names: Iterable[str]) -> str:
        count = len(set(names))
        of = f" of {self.clients:,}" if count <= self.clients else ""
        return f"{count:,}{of} client{'s' if max(count, self.clients if of else 0) != 1 else ''}"


def _from_events(events: Sequence[Mapping[str, object]]) -> list[Failure]:
    rounds: dict[tuple[str, str], set[int]] = {}
    for event in events:
        if event.get("event") == "failure":
            key = str(event.get("client")), str(event.get("reason"))
            number = event.get("round")
            rounds.setdefault(key, set()).add(number if isinstance(number, int) else 0)
    return Failure.listed(rounds)
