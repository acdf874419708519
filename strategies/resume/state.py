"""A run's state on disk, by which it goes on from the last finished step after its process was killed.

In the run folder, `state/` holds, while the run goes on:

- `replies/`: what clients sent (`strategies.resume.journal`): nobody is asked twice for it;
- `round`: after each finished round the global model, the strategy's state and the run's accounts, in one file;
- models that were trained between rounds.

A run that is resumed does again what costs nothing: it reads the replies of its prompt rounds from the journal and the
images from the store, and skips the rounds of training that are done. Random states need no saving: every round draws
from a seed of its own. What cannot be written ends no run; it is told once, as then the run cannot be resumed.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fgl_flower.errors import RunError, reason
from fgl_flower.files import write_bytes
from strategies.resume.journal import Journal, from_bytes, to_bytes

FOLDER = "state"


@dataclass(frozen=True)
class Checkpoint:
    """A finished round.

    Attributes
    ----------
    number : int
        Flower's round, from 1.
    values : mapping of str to Any
        JSON.
    arrays : mapping of str to Array
    """

    number: int
    values: Mapping[str, Any]
    arrays: Mapping[str, Array]

    def record(self, name: str) -> ArrayRecord:
        """Return the arrays whose names begin with `name`, in the order in which they were saved."""
        head = f"{name}/"
        return ArrayRecord({key[len(head) :]: array for key, array in self.arrays.items() if key.startswith(head)})


class RunState:
    """The state of one run.

    Parameters
    ----------
    run_folder : Path
    warn : callable
        Told, once, that something cannot be written.

    Attributes
    ----------
    checkpoint : Checkpoint or None
        The last round that an earlier process finished; None: there is none.
    """

    def __init__(self, run_folder: Path, warn: Callable[[str], None]) -> None:
        self.folder = run_folder / FOLDER
        self.journal = Journal(self.folder / "replies")
        self.checkpoint = _read(self.folder / "round")
        self._warn = warn

    def replies(self, call: str) -> dict[int, tuple[RecordDict, int]]:
        """Return what an earlier process was told in this call, and in how many bytes, by node."""
        return self.journal.read(call)

    def keep(self, call: str, node: int, content: RecordDict, size: int) -> None:
        """Keep a reply, that came in a message of so many bytes."""
        self._write(lambda: self.journal.keep(call, node, content, size))

    def save(self, number: int, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Keep a finished round in place of the one before, and forget its training replies."""
        told = ConfigRecord({"json": json.dumps({"round": number, **values})})
        content = RecordDict({"values": told, "arrays": ArrayRecord(dict(arrays))})
        self._write(lambda: self._save(to_bytes(content)))

    def once(self, name: str, make: Callable[[], ArrayRecord]) -> ArrayRecord:
        """Return the arrays that were made under this name by an earlier process, or make and keep them."""
        path = self.folder / name
        with suppress(OSError, ValueError):
            return from_bytes(path.read_bytes()).array_records["arrays"]
        made = make()

        def write() -> None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, to_bytes(RecordDict({"arrays": made})))

        self._write(write)
        return made

    def remove(self) -> None:
        """Forget everything: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self.folder / "round", data)
        self.journal.drop("train*")

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (OSError, RunError) as error:
            self._warn(f"the run's state cannot be written, it cannot be resumed from here: {reason(error)}")


def _read(path: Path) -> Checkpoint | None:
    try:
        content = from_bytes(path.read_bytes())
        values = json.loads(str(content.config_records["values"]["json"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"the run's state {path} cannot be read, begin a new run: {reason(error)}") from None
    return Checkpoint(values.pop("round"), values, dict(content.array_records["arrays"]))
