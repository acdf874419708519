"""A run leaves a folder: what was asked, what it stood on, what happened and what came out, in plain formats.

| file | holds |
|---|---|
| `config.toml` | every key of `RunConfig`, defaults included: `fgl run RUN/config.toml` runs it again |
| `environment.json` | interpreter, libraries, processor, git revision (`fgl_flower.records.environment`) |
| `status.json` | `state` (running, finished, failed), the reason of a failure, the command, the process |
| `progress.json` | how far a run is that goes on, for `fgl status` (`fgl_flower.records.progress`) |
| `state/` | by which a run that was killed goes on (`strategies.resume.state`); gone once it has ended well |
| `metrics.jsonl` | one event a line, as it happens (`RunFolder.log`) |
| `partition.json` | `clients`, `classes`, `counts` (clients x classes) of private images; in deployment as told |
| `samples.json`, `samples/*.png` | some synthetic images with their prompts, and validation images beside them |
| `confusion.json` | `classes` and `counts` (true x predicted) on the test split |
| `breakdown.json` | `classes`, `domains`, `right` and `total` (classes x domains) on the test split |
| `synthetic.txt` | where anything was drawn: keys in the store of all images that the run trained on, one a line |
| `ledger.json` | bytes, seconds and memory as `fgl_flower.records.ledger` counted them |
| `tensorboard/` | where asked for, the same for TensorBoard (`fgl_flower.records.tensorboard`) |
| `clients.log` | whole errors of a simulation's clients, each different one once |
| `traceback.txt` | where a failed run broke |
| `model.safetensors` | the global model |
| `models/` | where asked for, that after some of the rounds |
| `result.json` | the figures (`Result`); its presence means that the run ended well |
| `audit.json` | headline figures of audits that were made since (`fgl_flower.records.audits`) |
| `report.html` | the page made from all of these |

Every file but the growing `metrics.jsonl` is written under another name and moved into place, so a reader never sees
half of one. What is worth most is written first: the model, the result, then the rest, which may fail (a full disk)
and then costs only itself and a warning. Nothing here holds a private image, a host name or a user name.
"""

import re
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import tomli_w

from fgl_flower import interrupts
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, RunError, reason
from fgl_flower.files import keep, read_json, to_json, write_json, write_text
from fgl_flower.records import environment, process
from fgl_flower.records.events import EventLog
from fgl_flower.records.fingerprint import data_fingerprint
from fgl_flower.records.models import MODEL, ROUND_MODELS, model_bytes, write_round_model
from fgl_flower.records.observer import Observer
from fgl_flower.records.progress import Progress
from fgl_flower.records.reopening import unfinished_status
from fgl_flower.records.result import Result, partition_name
from fgl_flower.records.samples import Sample, write_samples

if TYPE_CHECKING:
    import torch  # reading a run must not cost the seconds that importing torch takes

__all__ = ["CLIENT_ERRORS", "RunFolder", "Sample", "State", "Watch", "default_name"]

CLIENT_ERRORS = "clients.log"
State = Literal["running", "finished", "failed"]
Watch = Callable[[str, int, int], None]


class RunFolder:
    """The folder of one run, while it runs. Use it as a context manager and a run that dies is marked failed.

    Example
    -------
    >>> with RunFolder.create(config) as folder:
    ...     folder.save_partition(counts, classes)
    ...     folder.log({"event": "round", "round": 1, "validation_accuracy": 0.5, "bytes_total": 1200})
    ...     folder.save_model(model.state_dict())
    ...     folder.finish(Result.of(config, accuracy=0.5))
    """

    def __init__(self, path: Path, *, watch: Watch | None = None, observers: Sequence[Observer] = ()) -> None:
        self.path = path
        self._observers = list(observers)
        self.watch = watch
        self.warnings: list[str] = []
        self.data_fingerprint = ""
        self.events = EventLog(path / "metrics.jsonl")
        self._extras: dict[str, Callable[[], None]] = {}
        self._samples: Sequence[Sample] = ()
        self._started = time.monotonic()
        self.resumed = 0
        self.muted = False
        self._live = Progress(path / "progress.json")

    @classmethod
    def create(
        cls,
        config: RunConfig,
        *,
        command: str = "",
        engine: str = "",
        flower_run: int = 0,
        watch: Watch | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Make the folder and write down what is about to run.

        The folder is `runs-dir/NAME`; if that exists, `NAME-2`, `NAME-3` ...: no run ever overwrites another.

        Parameters
        ----------
        config : RunConfig
        command : str
            The command line that made the run, for the report.
        engine : str
            How the clients are run, for who resumes the run.
        flower_run : int
            Flower's number of the run, by which `fgl deploy run` finds the folder.
        watch : callable, optional
            Told of the progress: ``watch(phase, done, total)``; see `progress`.
        observers : sequence of Observer
            Hear of the run as it goes on.

        Raises
        ------
        ConfigError
            If the folder cannot be made; then nothing of it is left.
        """
        try:
            parent = Path(config.runs_dir).expanduser().resolve()
        except RuntimeError:
            raise ConfigError(f"runs-dir = {config.runs_dir!r}: HOME is not set, write the whole path") from None
        path = _new_folder(parent, config.name or default_name(config))
        folder = cls(path, watch=watch, observers=observers)
        try:
            folder.data_fingerprint = data_fingerprint(config.dataset)
            write_text(path / "config.toml", tomli_w.dumps(config.to_flat()))
            write_json(path / "environment.json", environment.describe())
            status: dict[str, Any] = {
                "command": command,
                "engine": engine,
                "state": "running",
                "data": folder.data_fingerprint,
            }
            status |= process.identity() | ({"flower_run": flower_run} if flower_run else {})
            write_json(path / "status.json", status)
        except BaseException as error:
            shutil.rmtree(path, ignore_errors=True)
            if isinstance(error, OSError):
                raise ConfigError(f"runs-dir = {str(parent)!r} cannot be written: {error.strerror}") from None
            raise
        folder._notify(lambda observer: observer.begin(path, config))
        return folder

    @classmethod
    def reopen(
        cls,
        path: Path,
        config: RunConfig,
        *,
        flower_run: int = 0,
        watch: Watch | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Open the folder of a run that ended early, to go on with it.

        Parameters
        ----------
        path : Path
        config : RunConfig
            Must be that of the folder; where files lie may differ.
        flower_run, watch, observers
            See `create`.

        Raises
        ------
        ConfigError
            If it is no run folder, the run is finished or still going on, or its keys or data are others.
        """
        path = path.expanduser().resolve()
        status = unfinished_status(path, config)
        folder = cls(path, watch=watch, observers=observers)
        folder.data_fingerprint = data_fingerprint(config.dataset)
        folder.resumed = status.get("resumed", 0) + 1
        folder._started -= folder.events.last_time
        (path / "traceback.txt").unlink(missing_ok=True)
        status.pop("reason", None)
        status |= process.identity() | ({"flower_run": flower_run} if flower_run else {})
        write_json(path / "status.json", {**status, "state": "running", "resumed": folder.resumed})
        folder._notify(lambda observer: observer.begin(path, config))
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.fail("the run ended without a result")
        elif isinstance(error, KeyboardInterrupt | SystemExit):  # Ray answers SIGTERM by the latter
            self.fail("interrupted")
            if isinstance(error, SystemExit):
                raise interrupts.Interrupted from error
        else:
            with suppress(OSError):
                write_text(self.path / "traceback.txt", "".join(traceback.format_exception(error)))
            self.fail(reason(error))
            if isinstance(error, ConfigError):  # which promises that nothing was written
                failure = RunError(str(error))
                failure.add_note(f"see {self.path}")
                raise failure from error
            error.add_note(f"see {self.path}")

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to `metrics.jsonl`; `time` (seconds since the start) is added.

        The report reads ``{"event": "round", "round": int, "bytes_total": int, "validation_accuracy": float}`` for its
        curves (round 0 is the model before the first federated round) and ``{"event": "quarantine", "client": str,
        "reason": str}``; TensorBoard shows "round", "epoch" and "synthesis" events. Observers hear of each.
        """
        if self.muted:
            return
        try:
            self.events.append({**event, "time": round(time.monotonic() - self._started, 3)})
        except OSError as error:  # the run is worth more than its events
            self.warn(f"events are missing from metrics.jsonl: {_why(error)}")
        self._notify(lambda observer: observer.event(event))

    def warn(self, sentence: str) -> None:
        """Log what a reader of the figures must know; it ends in the result, the report and on the terminal."""
        sentence = sentence.encode(errors="backslashreplace").decode()  # it may name a file whose name is not UTF-8
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.log({"event": "warning", "text": sentence})

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell whoever watches how far a phase is: ``("synthesis", 128, 2400)``, ``("rounds", 3, 30)``."""
        self._live.phase(phase, done, total)
        if self.watch is not None:
            self.watch(phase, done, total)

    def waiting(self, asked: str, server_round: int, answered: int, of: int, names: Sequence[str]) -> None:
        """Tell how many clients have answered what they were asked, of how many, and the first names.

        Whoever watches is told of the phase "clients", which begins again with each message.
        """
        self._live.waiting(asked, server_round, answered, of, names)
        if self.watch is not None:
            self.watch("clients", answered, of)

    def save_partition(self, counts: np.ndarray, classes: Sequence[str]) -> None:
        """Keep the label counts of the private split, (clients, classes) int."""
        table = np.asarray(counts, dtype=np.int64)
        if table.ndim != 2 or table.shape[1] != len(classes):
            raise ValueError(f"counts must be (clients, {len(classes)}), not {table.shape}")
        self._later("partition.json", {"clients": len(table), "classes": list(classes), "counts": table.tolist()})

    def save_confusion(self, confusion: np.ndarray, classes: Sequence[str]) -> None:
        """Keep the confusion counts on the test split, (true, predicted) int."""
        table = np.asarray(confusion, dtype=np.int64)
        if table.shape != (len(classes), len(classes)):
            raise ValueError(f"confusion must be ({len(classes)}, {len(classes)}), not {table.shape}")
        self._later("confusion.json", {"classes": list(classes), "counts": table.tolist()})

    def save_breakdown(
        self, right: np.ndarray, total: np.ndarray, classes: Sequence[str], domains: Sequence[str]
    ) -> None:
        """Keep how many test images of each class and domain were right, of how many; (classes, domains) int each."""
        if not np.shape(right) == np.shape(total) == (len(classes), len(domains)):
            raise ValueError(f"right and total must be ({len(classes)}, {len(domains)})")
        value = {"right": np.asarray(right).tolist(), "total": np.asarray(total).tolist()}
        self._later("breakdown.json", {"classes": list(classes), "domains": list(domains), **value})

    def save_samples(self, samples: Sequence[Sample]) -> None:
        """Keep the images that the report shows; call it once, with some tens of images."""
        self._extras["samples/"] = partial(write_samples, self.path, samples)
        self._samples = samples

    def save_synthetic(self, keys: Iterable[str]) -> None:
        """Keep the keys in the store of all images that the run has trained on."""
        self._extras["synthetic.txt"] = partial(write_text, self.path / "synthetic.txt", "\n".join(keys) + "\n")

    def save_ledger(self, ledger: Mapping[str, Any]) -> None:
        """Keep what the ledger counted (`Ledger.to_dict()`)."""
        self._later("ledger.json", ledger)

    def save_model(self, state: "Mapping[str, torch.Tensor]") -> None:
        """Write the model's tensors; called as soon as they are trained, before anything else that may fail.

        Raises
        ------
        RunError
            If they cannot be written, at a second try neither.
        """
        keep(self.path / MODEL, model_bytes(state))

    def save_round_model(self, number: int, state: "Mapping[str, torch.Tensor]") -> None:
        """Write the global model after a round (`fgl_flower.records.models`); without it the run goes on."""
        self._spare(f"{ROUND_MODELS}/", partial(write_round_model, self.path, number, state))

    def finish(self, result: Result) -> None:
        """Write the result, mark the run finished, and write what `save_...` was given and the report. Call it last.

        Raises
        ------
        RunError
            If the result cannot be written, at a second try neither.
        """
        update = {"warnings": list(self.warnings), "data_fingerprint": self.data_fingerprint}
        result = result.model_copy(update=update)
        keep(self.path / "result.json", _text(result))
        with suppress(OSError):  # a folder that holds a result is read as finished
            self._mark("finished")
        for name, write in self._extras.items():
            self._spare(name, write)
        result = self._with_warnings(result)
        self._notify(lambda observer: observer.samples(self._samples))
        self._notify(lambda observer: observer.end(self.path, result))
        self._with_warnings(result)

    def fail(self, reason: str) -> None:
        """Mark the run failed. A folder that holds a result stays finished."""
        if not (self.path / "result.json").exists():
            with suppress(OSError):  # nothing can be told where nothing can be written
                self._mark("failed", reason=reason)

    def _mark(self, state: State, **more: Any) -> None:
        file = self.path / "status.json"
        value = {**read_json(file, {}), **more, "state": state, "seconds": time.monotonic() - self._started}
        try:
            write_json(file, value)
        except OSError:
            with file.open("r+b") as old:  # on a full disk there is room where the old one stands
                old.write(to_json(value).encode())
                old.truncate()

    def _later(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file once the result is written."""
        self._extras[name] = partial(write_json, self.path / name, value)

    def _spare(self, name: str, write: Callable[[], object]) -> bool:
        """Write what a run can do without; if that fails it is told and costs nothing else."""
        try:
            write()
        except Exception as error:
            self.warn(f"{name} is not written or not whole: {_why(error)}")
            return False
        return True

    def _notify(self, what: Callable[[Observer], object]) -> None:
        """Tell the observers; one that fails hears no more, not even of its own failure."""
        for observer in list(self._observers):
            if observer not in self._observers:  # it failed at an event that another one's failure caused
                continue
            try:
                what(observer)
            except Exception as error:
                self._observers.remove(observer)
                self.warn(f"{observer.name} is not written or not whole: {_why(error)}")

    def _with_warnings(self, result: Result) -> Result:
        """Write the result again if warnings came since, and return it."""
        if self.warnings != result.warnings:
            result = result.model_copy(update={"warnings": list(self.warnings)})
            with suppress(OSError):
                write_text(self.path / "result.json", _text(result).decode())
        return result


def _text(result: Result) -> bytes:
    return f"{result.model_dump_json(indent=2)}\n".encode()


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else reason(error)


def default_name(config: RunConfig) -> str:
    """Return the folder's name for a configuration without one: method, rounds, partition and seed."""
    method = f"{config.method}-{config.wrapped}" if config.method == "fgl" and config.rounds else config.method
    rounds = f"-r{config.rounds}" if config.rounds else ""
    return f"{method}{rounds}-{partition_name(config)}-s{config.seed}"


def _new_folder(parent: Path, name: str) -> Path:
    name = re.sub(r"[^\w.+-]", "_", name)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = parent / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise ConfigError(f"runs-dir = {str(parent)!r} cannot be written: {error.strerror}") from None
    raise ConfigError(f"runs-dir = {str(parent)!r} already holds 10,000 runs named {name!r}: choose another name")
