"""Headline figures of an audit go into the run's folder, and its report is made again with them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgl_flower.errors import ConfigError
from fgl_flower.records.audits import Audit, add_audit

__all__ = ["record", "run_of"]


def run_of(file: Path, settings: list[str] | None) -> Path | None:
    """Return the folder of the finished run whose own `config.toml` a file is; None: of none, or keys were changed."""
    folder = file.expanduser().resolve().parent
    named = file.name == "config.toml" and not settings
    return folder if named and all((folder / name).is_file() for name in ("status.json", "result.json")) else None


def record(run: Path, audit: Audit, summary: str, figures: Mapping[str, Any]) -> None:
    """Add the figures to `audit.json` of a run and write its report again.

    Raises
    ------
    ConfigError
        If the run's folder cannot be written.
    """
    from fgl_flower.report.page import write_report

    try:
        add_audit(run, audit, summary, figures)
        write_report([run])
    except OSError as error:
        raise ConfigError(f"the figures are not added to the report of {run}: {error.strerror or error}") from None
