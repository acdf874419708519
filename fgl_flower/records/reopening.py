"""Whether a run that ended early can be gone on with."""

from pathlib import Path
from typing import Any, Literal

from fgl_flower.config import PlacesConfig, RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.files import read_json
from fgl_flower.records import process
from fgl_flower.records.fingerprint import data_fingerprint


def unfinished(path: Path) -> tuple[RunConfig, Literal["inline", "ray"]]:
    """Return the keys of a run that was simulated, and how its clients were run.

    Raises
    ------
    ConfigError
        If there is none, or it was run on a SuperLink and can only be gone on with there.
    """
    engine: Any = _status(path).get("engine") or "inline"
    if engine == "deployment":
        raise ConfigError(f"{path} is a run of a deployment: fgl deploy run --resume goes on with it")
    return RunConfig.load(path / "config.toml"), engine


def unfinished_status(path: Path, config: RunConfig) -> dict[str, Any]:
    """Return the status of a run of this configuration that has ended early.

    Raises
    ------
    ConfigError
        If it is no run folder, the run is finished or still going on, or its keys or data are others.
    """
    status = _status(path)
    if (path / "result.json").exists():
        raise ConfigError(f"{path} is finished: there is nothing to resume")
    if status["state"] == "running" and not process.why_gone(status):
        raise ConfigError(f"{path} is still running, as process {status['process']}: it cannot be resumed")
    then, now = RunConfig.load(path / "config.toml", stored=True).to_flat(), config.to_flat()
    if other := sorted(key for key in set(now) - PlacesConfig.spelled() if then[key] != now[key]):
        raise ConfigError(f"{path} was begun with another {', '.join(other)}: resume it with the same keys")
    fingerprint = data_fingerprint(config.dataset)
    if status.get("data", fingerprint) != fingerprint:
        raise ConfigError(f"{path}: its data have changed since it was begun, it cannot be resumed")
    return status


def _status(path: Path) -> dict[str, Any]:
    status: dict[str, Any] = read_json(path / "status.json", {})
    if not status or not (path / "config.toml").exists():
        raise ConfigError(f"{path} is no run folder: there is nothing to resume")
    return status
