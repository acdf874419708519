"""A run leaves a folder: what was asked, what it stood on, what happened and what came out, in plain formats.

| file | holds |
|---|---|
| `config.toml` | every key of `RunConfig`, defaults included: `fgl run RUN/config.toml` runs it again |
| `environment.json` | interpreter, libraries, processor, git revision (`fgl_flower.environment`) |
| `status.json` | `state` (running, finished, failed), the reason of a failure, the command |
| `metrics.jsonl` | one event a line, as it happens (`RunFolder.log`) |
| `partition.json` | `clients`, `classes`, `counts` (clients x classes) of private images; in deployment as told |
| `samples.json`, `samples/*.png` | some synthetic images with their prompts, and validation images beside them |
| `confusion.json` | `classes` and `counts` (true x predicted) on the test split |
| `breakdown.json` | `classes`, `domains`, `right` and `total` (classes x domains) on the test split |
| `ledger.json` | bytes, seconds and memory as `fgl_flower.ledger` counted them |
| `tensorboard/` | where asked for, the same for TensorBoard (`fgl_flower.tensorboard`) |
| `traceback.txt` | where a failed run broke |
| `model.safetensors` | the global model |
| `result.json` | the figures (`Result`); written last, so its presence means that the run ended well |
| `report.html` | the page made from all of these |

Every file but the growing `metrics.jsonl` is written under another name and moved into place, so a reader never sees
half of one. Nothing here holds a private image, a host name or a user name.
"""

import json
import os
import re
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import tomli_w
from PIL import Image

from fgl_flower import environment
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError, reason
from fgl_flower.files import plain, write_bytes, write_json, write_text
from fgl_flower.result import Result, partition_name

if TYPE_CHECKING:
    import torch  # reading a run must not cost the seconds that importing torch takes

    from fgl_flower.tensorboard import Board

State = Literal["running", "finished", "failed"]
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sample:
    """An image for the report. Only synthetic and validation images may be shown, never private ones.

    Attributes
    ----------
    image : np.ndarray
        (H, W, 3) uint8.
    kind : "synthetic" or "validation"
    label, domain : str
        Names of class and style; the domain may be empty.
    prompt : str
        What the image was drawn from (synthetic), or its true caption or nothing (validation).
    client : str
        Who sent the prompt; empty if nobody or several did.
    """

    image: np.ndarray
    kind: Literal["synthetic", "validation"]
    label: str
    domain: str = ""
    prompt: str = ""
    client: str = ""


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

    def __init__(self, path: Path, *, engine: str = "", watch: Watch | None = None) -> None:
        self.path = path
        self.engine = engine
        self._watch = watch
        self.warnings: list[str] = []
        self._board: Board | None = None
        self._started = time.monotonic()

    @classmethod
    def create(cls, config: RunConfig, *, command: str = "", engine: str = "", watch: Watch | None = None) -> Self:
        """Make the folder and write down what is about to run.

        The folder is `runs-dir/NAME`; if that exists, `NAME-2`, `NAME-3` ...: no run ever overwrites another.

        Parameters
        ----------
        config : RunConfig
        command : str
            The command line that made the run, for the report.
        engine : str
            How the clients are run: inline, ray, or deployment.
        watch : callable, optional
            Told of the progress: ``watch(phase, done, total)``; see `progress`.

        Raises
        ------
        ConfigError
            If the folder cannot be made.
        """
        path = _new_folder(Path(config.runs_dir).expanduser().resolve(), config.name or default_name(config))
        folder = cls(path, engine=engine, watch=watch)
        write_text(path / "config.toml", tomli_w.dumps(config.to_flat()))
        write_json(path / "environment.json", environment.describe())
        folder._mark("running", command=command)
        if config.tensorboard:
            from fgl_flower.tensorboard import Board  # an extra, which need not be installed

            folder._board = Board(path)
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.fail("the run ended without a result")
        elif isinstance(error, KeyboardInterrupt):
            self.fail("interrupted")
        else:
            write_text(self.path / "traceback.txt", "".join(traceback.format_exception(error)))
            self.fail(reason(error))
            error.add_note(f"see {self.path}")

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to `metrics.jsonl`; `time` (seconds since the start) is added.

        The report reads ``{"event": "round", "round": int, "bytes_total": int, "validation_accuracy": float}`` for its
        curves (round 0 is the model before the first federated round) and ``{"event": "quarantine", "client": str,
        "reason": str}``; TensorBoard shows "round", "epoch" and "synthesis" events.
        """
        line = json.dumps({**event, "time": round(time.monotonic() - self._started, 3)}, default=plain)
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._board is not None:
            self._board.event(event)

    def warn(self, sentence: str) -> None:
        """Log what a reader of the figures must know; it ends in the result, the report and on the terminal."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            self.log({"event": "warning", "text": sentence})

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell whoever watches how far a phase is: ``("synthesis", 128, 2400)``, ``("rounds", 3, 30)``."""
        if self._watch is not None:
            self._watch(phase, done, total)

    def save_partition(self, counts: np.ndarray, classes: Sequence[str]) -> None:
        """Keep the label counts of the private split, (clients, classes) int."""
        table = np.asarray(counts, dtype=np.int64)
        if table.ndim != 2 or table.shape[1] != len(classes):
            raise ValueError(f"counts must be (clients, {len(classes)}), not {table.shape}")
        value = {"clients": len(table), "classes": list(classes), "counts": table.tolist()}
        write_json(self.path / "partition.json", value)

    def save_confusion(self, confusion: np.ndarray, classes: Sequence[str]) -> None:
        """Keep the confusion counts on the test split, (true, predicted) int."""
        table = np.asarray(confusion, dtype=np.int64)
        if table.shape != (len(classes), len(classes)):
            raise ValueError(f"confusion must be ({len(classes)}, {len(classes)}), not {table.shape}")
        write_json(self.path / "confusion.json", {"classes": list(classes), "counts": table.tolist()})

    def save_breakdown(
        self, right: np.ndarray, total: np.ndarray, classes: Sequence[str], domains: Sequence[str]
    ) -> None:
        """Keep how many test images of each class and domain were right, of how many; (classes, domains) int each."""
        if not np.shape(right) == np.shape(total) == (len(classes), len(domains)):
            raise ValueError(f"right and total must be ({len(classes)}, {len(domains)})")
        value = {"right": np.asarray(right).tolist(), "total": np.asarray(total).tolist()}
        write_json(self.path / "breakdown.json", {"classes": list(classes), "domains": list(domains), **value})

    def save_samples(self, samples: Sequence[Sample]) -> None:
        """Keep the images that the report shows; call it once, with some tens of images."""
        (self.path / "samples").mkdir(exist_ok=True)
        rows = []
        for number, sample in enumerate(samples):
            file = f"samples/{number:03d}.png"
            Image.fromarray(np.asarray(sample.image, dtype=np.uint8)).save(self.path / file, optimize=True)
            row = {key: value for key, value in asdict(sample).items() if key != "image"}
            rows.append({"file": file, **row})
        write_json(self.path / "samples.json", rows)
        if self._board is not None:
            self._board.samples(samples)

    def save_ledger(self, ledger: Mapping[str, Any]) -> None:
        """Keep what the ledger counted (`Ledger.to_dict()`)."""
        write_json(self.path / "ledger.json", ledger)

    def save_model(self, state: "Mapping[str, torch.Tensor]") -> None:
        """Write the model's tensors; called as soon as they are trained, before anything else that may fail."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        write_bytes(self.path / "model.safetensors", save(tensors, metadata={"format": "pt"}))

    def finish(self, result: Result) -> None:
        """Write the result and the report, and mark the run finished. Call it once, last."""
        result = result.model_copy(update={"engine": self.engine, "warnings": self.warnings})
        if self._board is not None:
            self._board.result(result)
        write_text(self.path / "result.json", result.model_dump_json(indent=2) + "\n")
        self._mark("finished")
        from fgl_flower.report.page import write_report  # the report reads run folders, so it stands above this module

        write_report([self.path])

    def fail(self, reason: str) -> None:
        """Mark the run failed. A folder that holds a result stays finished."""
        if not (self.path / "result.json").exists():
            self._mark("failed", reason=reason)

    def _mark(self, state: State, **more: Any) -> None:
        file = self.path / "status.json"
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        value = {**before, **more, "state": state, "process": os.getpid(), "seconds": time.monotonic() - self._started}
        write_json(file, value)


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
