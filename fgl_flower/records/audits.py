"""What audits of a finished run found, as `audit.json` in its folder: headline figures by audit, nothing of one image.

    {"copies": {"summary": "one sentence, shown in the report", "encoder": "...", ...}, "membership": {...}}

Each audit replaces its own entry and leaves the others; several may write at the same time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from fgl_flower.files import read_json, write_json

__all__ = ["Audit", "add_audit", "read_audits"]

Audit = Literal["promise", "prompts", "copies", "membership"]
_FILE = "audit.json"


def add_audit(run: Path, audit: Audit, summary: str, figures: Mapping[str, Any]) -> None:
    """Write the figures of an audit into a run's folder, in the place of those of an earlier one of its kind.

    Parameters
    ----------
    run : Path
        A run's folder.
    audit : str
        One of `Audit`.
    summary : str
        One sentence for the report, which the server's side reads: aggregates only.
    figures : mapping
        The same as numbers, by name.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    if audit not in get_args(Audit):
        raise ValueError(f"{audit!r} is no audit: these are {', '.join(get_args(Audit))}")
    with FileLock(run / ".audit.lock"):
        write_json(run / _FILE, {**read_audits(run), audit: {"summary": summary, **figures}})


def read_audits(run: Path) -> dict[str, dict[str, Any]]:
    """Return the figures in a run's folder by audit; what is none of them is left out.

    Raises
    ------
    ValueError
        If the file is no JSON.
    """
    found = read_json(run / _FILE, {})
    if not isinstance(found, dict):
        return {}
    known = {name: found[name] for name in get_args(Audit) if isinstance(found.get(name), dict)}
    return {name: figures for name, figures in known.items() if isinstance(figures.get("summary"), str)}
