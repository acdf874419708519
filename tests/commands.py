"""The command line, called in this process."""

import sys
from pathlib import Path

import pytest

from experiments.cli import app as cli


def fgl(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Call the command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["fgl", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
