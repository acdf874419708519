"""How far a run is, in a file that another shell reads: `fgl status`.

`progress.json` holds `phase`, `done`, `total`, `since` (Unix seconds when the phase began) and `clients`: what they
were asked last (`asked`, `round`), how many have `answered`, `of` how many, and the first `names`. It is written once
a second at most.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fgl_flower.files import write_json

_EVERY = 1.0  # seconds


class Progress:
    """Writes the file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told: dict[str, Any] = {"phase": "", "done": 0, "total": 0, "since": 0.0, "clients": {}}
        self._written = 0.0

    def phase(self, phase: str, done: int, total: int) -> None:
        """Note how far a phase is."""
        began = phase != self._told["phase"] or done < self._told["done"]
        since = time.time() if began else self._told["since"]
        self._told |= {"phase": phase, "done": done, "total": total, "since": since}
        self._write(whole=began or done >= total)

    def waiting(self, asked: str, server_round: int, answered: int, of: int, names: Sequence[str]) -> None:
        """Note how many have answered."""
        clients = {"asked": asked, "round": server_round, "answered": answered, "of": of, "names": names}
        self._told["clients"] = clients
        self._write(whole=not answered or answered >= of)

    def _write(self, *, whole: bool) -> None:
        if whole or time.monotonic() - self._written >= _EVERY:
            self._written = time.monotonic()
            with suppress(OSError):  # nobody depends on it
                write_json(self.path, self._told, durable=False)
