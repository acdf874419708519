"""The events of a run: `metrics.jsonl`, one JSON object a line, as they happen."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl_flower.files import plain, read_json_lines


class EventLog:
    """Appends events to a file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._torn = False  # the last line may be half a line

    def append(self, event: Mapping[str, Any]) -> None:
        """Write an event; NumPy and torch values become plain ones.

        Raises
        ------
        OSError
            If it cannot be written; the next one begins on a line of its own.
        """
        line = json.dumps(event, default=plain)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n" if self._torn else f"{line}\n")
            self._torn = False
        except OSError:
            self._torn = True
            raise

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def last_time(self) -> float:
        """Seconds from the run's start to its last event; 0 before the first."""
        return max((event.get("time", 0.0) for event in read_json_lines(self.path)), default=0.0)

    def rewind(self, size: int) -> None:
        """Forget what lies beyond so many bytes: what is done again is told again."""
        if self.path.exists():
            os.truncate(self.path, min(size, self.size))
