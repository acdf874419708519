"""What a run cost: bytes of every message, one-time model downloads, seconds by phase, peak memory.

Bytes are those of Flower's own serialisation since 1.20: a message is an object tree (message, record dict, records,
arrays, chunks of data) and each object crosses the wire once as its deflated bytes. What a deployment adds on the cable
(HTTP, TLS, the nodes' polling, the app's bundle) is not in these bytes; the requests that it takes are counted.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psutil
import torch

Direction = Literal["up", "down"]


class Ledger:
    """Accounts of one run.

    Parameters
    ----------
    clients : int
        Number of clients of the federation: means are over all of them, those never asked included.
    """

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self._bytes: dict[str, Counter[str]] = {"up": Counter(), "down": Counter()}
        self._rounds: dict[int, Counter[str]] = defaultdict(Counter)
        self._requests: Counter[str] = Counter()
        self._once: dict[tuple[str, str], int] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._phases: list[str] = []
        self._since = 0.0
        self._started = time.perf_counter()
        self._peak_memory = 0

    def count(self, direction: Direction, client: str, size: int, server_round: int) -> None:
        """Count one message of `size` bytes from (`up`) or to (`down`) a client in a server round."""
        self._bytes[direction][client] += size
        self._rounds[server_round][direction] += size

    def request(self, client: str, count: int) -> None:
        """Count requests of Flower's protocol by which a deployed client got or sent a message."""
        self._requests[client] += count

    def once(self, client: str, model_id: str, size: int) -> None:
        """Count a model that a client downloads: `size` bytes the first time, nothing after that."""
        self._once.setdefault((client, model_id), size)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds spent inside to the phase `name`; a phase inside another stops the outer one's clock."""
        self._charge()
        self._phases.append(name)
        try:
            yield
        finally:
            self._charge()
            self._phases.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._phases:
            self._seconds[self._phases[-1]] += now - self._since
        self._since = now

    @contextmanager
    def measuring(self, interval: float = 1.0) -> Iterator[None]:
        """Time the whole (``total``) and sample memory every `interval` seconds meanwhile.

        Sampled, not asked of the kernel: the kernel's own peak never falls, so a second run in one process would
        inherit the first one's. Spikes shorter than the interval can be missed.
        """
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        done = threading.Event()

        def watch() -> None:
            while True:
                self._peak_memory = max(self._peak_memory, _resident_bytes())
                if done.wait(interval):
                    return

        watcher = threading.Thread(target=watch, name="ledger-memory", daemon=True)
        watcher.start()
        self._started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds["total"] += time.perf_counter() - self._started
            done.set()
            watcher.join()
            self._peak_memory = max(self._peak_memory, _resident_bytes())

    @property
    def bytes_total(self) -> int:
        """Bytes of all messages both ways and of the one-time downloads, over all clients."""
        return self._bytes["up"].total() + self._bytes["down"].total() + sum(self._once.values())

    def result_fields(self) -> dict[str, Any]:
        """Return the figures that ``result.json`` holds (bytes, seconds)."""
        return {
            "bytes_up_per_client": self._bytes["up"].total() / self.clients,
            "bytes_down_per_client": self._bytes["down"].total() / self.clients,
            "bytes_once_per_client": sum(self._once.values()) / self.clients,
            "bytes_total": self.bytes_total,
            "requests_per_client": self._requests.total() / self.clients,
            "seconds": {name: round(seconds, 3) for name, seconds in self._seconds.items()},
            "peak_memory_bytes": self._peak_memory,
            "peak_device_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None,
        }

    def snapshot(self) -> dict[str, Any]:
        """Return as JSON all that has been counted."""
        self._charge()
        return {
            "bytes": {direction: dict(counts) for direction, counts in self._bytes.items()},
            "rounds": [[number, dict(split)] for number, split in self._rounds.items()],
            "requests": dict(self._requests),
            "once": [[client, model, size] for (client, model), size in self._once.items()],
            "seconds": dict(self._seconds),
            "total": time.perf_counter() - self._started + self._seconds["total"],
            "peak_memory": self._peak_memory,
        }

    def restore(self, counted: dict[str, Any]) -> None:
        """Go on from what `snapshot` returned in an earlier process, in place of what this one has counted."""
        self._bytes = {direction: Counter(counts) for direction, counts in counted["bytes"].items()}
        self._rounds = defaultdict(Counter, {number: Counter(split) for number, split in counted["rounds"]})
        self._requests = Counter(counted.get("requests", {}))  # earlier versions counted none
        self._once = {(client, model): size for client, model, size in counted["once"]}
        self._seconds = defaultdict(float, {**counted["seconds"], "total": counted["total"]})
        self._peak_memory = max(self._peak_memory, counted["peak_memory"])

    def to_dict(self) -> dict[str, Any]:
        """Return `result_fields` and bytes by round and by client."""
        up, down = self._bytes["up"], self._bytes["down"]
        once: Counter[str] = Counter()
        for (client, _), size in self._once.items():
            once[client] += size
        return {
            **self.result_fields(),
            "bytes_by_round": [
                {"round": number, "up": split["up"], "down": split["down"]}
                for number, split in sorted(self._rounds.items())
            ],
            "bytes_by_client": {
                name: {"up": up[name], "down": down[name], "once": once[name], "requests": self._requests[name]}
                for name in sorted(set(up) | set(down) | set(once))
            },
        }


def _resident_bytes() -> int:
    """Return the resident memory of this process and all its descendants, in bytes (shared pages count for each)."""
    own = psutil.Process()
    total = own.memory_info().rss
    for child in own.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue  # it ended between the listing and the question
    return int(total)
