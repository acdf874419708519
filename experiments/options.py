"""What several commands take: a run configuration and its `--set` overrides."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; may be given several times."),
]


def load(file: Path, settings: list[str] | None = None, runs_dir: Path | None = None) -> RunConfig:
    """Return the configuration of a file under `--set` and `--runs-dir`.

    Raises
    ------
    ConfigError
        If the file, a setting or their combination describes no valid run.
    """
    overrides: dict[str, Any] = {}
    for setting in settings or []:
        key, sign, text = setting.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set wants KEY=VALUE, for instance --set seed=1, not {setting!r}")
        overrides[key.strip()] = value(text.strip())
    if runs_dir is not None:
        overrides["runs-dir"] = str(runs_dir)
    return RunConfig.load(file, **overrides)


def value(text: str) -> Any:
    """Read a value as TOML does; what is no TOML value is a string, so that `--set method=fedavg` needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
