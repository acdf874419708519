"""What several commands take: a run configuration and its `--set` overrides."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

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
    changes = overrides(settings)
    if runs_dir is not None:
        changes["runs-dir"] = str(runs_dir)
    return RunConfig.load(file, **changes)


def load_all(file: Path, settings: list[str] | None = None) -> list[RunConfig]:
    """Return the configurations of a run's file, or those of a table's file: one a cell, of its first seed.

    Raises
    ------
    ConfigError
        If the file, a setting or their combination describes no valid run.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}  # `load` says what is wrong
    if "axes" not in values:
        return [load(file, settings)]
    from experiments.table.spec import Table

    table = Table.load(file, overrides(settings))
    return [table.config(cell, table.seeds[0], {}, Path("runs/tables")) for cell in table.cells]


def overrides(settings: Sequence[str] | None) -> dict[str, Any]:
    """Return the keys and values of `--set` options.

    Raises
    ------
    ConfigError
        If one is not KEY=VALUE.
    """
    result: dict[str, Any] = {}
    for setting in settings or []:
        key, sign, text = setting.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set wants KEY=VALUE, for instance --set seed=1, not {setting!r}")
        result[key.strip()] = value(key.strip(), text.strip())
    return result


def value(key: str, text: str) -> Any:
    """Return the value of a key as TOML reads it; a string needs no quotes: `--set method=fedavg`, `--set name=2`."""
    field = RunConfig.model_fields.get(key.replace("-", "_"))
    if field is not None and _is_text(field.annotation) and not _quoted(text):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _is_text(annotation: Any) -> bool:
    return annotation is str or get_origin(annotation) is Literal


def _quoted(text: str) -> bool:
    return text[:1] in {"'", '"'}
