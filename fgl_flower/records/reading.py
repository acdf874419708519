"""A run folder as read back, finished or not; what it holds is told in `fgl_flower.records.run_folder`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json, read_json_lines
from fgl_flower.records.audits import read_audits
from fgl_flower.records.process import why_gone
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import State


@dataclass(frozen=True)
class Run:
    """A run folder as read back. What the run did not leave is empty or None."""

    path: Path
    config: RunConfig
    state: State
    reason: str
    command: str
    environment: dict[str, Any]
    events: list[dict[str, Any]]
    result: Result | None
    partition: dict[str, Any] | None
    confusion: dict[str, Any] | None
    breakdown: dict[str, Any] | None
    samples: list[dict[str, Any]]
    ledger: dict[str, Any]
    audits: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name


def read_run(path: str | Path) -> Run:
    """Return what a run folder holds.

    A run that is marked running but whose process is not known to run is read as failed; one with a result is finished,
    whatever its mark.

    Raises
    ------
    ConfigError
        If `path` is no run folder, or one of its files is damaged.
    """
    path = Path(path).expanduser().resolve()
    if not (path / "config.toml").is_file() or not (path / "status.json").is_file():
        raise ConfigError(f"{path} is not a run folder: it has no config.toml and status.json")
    try:
        status = read_json(path / "status.json", {})
        state, why = status["state"], status.get("reason", "")
        result = read_result(path) if (path / "result.json").exists() else None
        if result is not None:
            state, why = "finished", ""
        elif state == "running" and (gone := why_gone(status)):
            state, why = "failed", gone
        return Run(
            path=path,
            config=RunConfig.load(path / "config.toml", stored=True),
            state=state,
            reason=why,
            command=status.get("command", ""),
            environment=read_json(path / "environment.json", {}),
            events=read_json_lines(path / "metrics.jsonl"),
            result=result,
            partition=read_json(path / "partition.json", None),
            confusion=read_json(path / "confusion.json", None),
            breakdown=read_json(path / "breakdown.json", None),
            samples=read_json(path / "samples.json", []),
            ledger=read_json(path / "ledger.json", {}),
            audits=read_audits(path),
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValidationError) as error:
        raise ConfigError(f"the run folder {path} is damaged: {error}") from None


def read_result(path: str | Path) -> Result:
    """Return the result of the run folder `path`."""
    return Result.model_validate_json((Path(path) / "result.json").read_text(encoding="utf-8"))
