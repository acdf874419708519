"""Which revision of this project is running: asked of git in a checkout, else what was built into the package.

This module imports the standard library alone: `setup.py` uses it while a wheel is built.
"""

import json
import os
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

BUILT_IN = "_revision.json"  # beside this file; written into wheels and source distributions, never into a checkout
_OTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"}  # set inside a git hook
_UNKNOWN: dict[str, Any] = {"revision": None, "dirty": None}


@cache
def git_state() -> dict[str, Any]:
    """Return ``{"revision": str | None, "dirty": bool | None}`` of the code that runs.

    Of the checkout that holds this file; in an installed wheel, of the checkout that it was built from. Both are None
    where neither is known, for instance in the copy that Flower makes of an app. Dirty means that a Python or TOML
    file differed from the revision or was unknown to it.
    """
    return state_of(Path(__file__).resolve().parent)


def state_of(package: Path) -> dict[str, Any]:
    """Return the same for the folder of any copy of this package."""
    return _checked_out(package) or _built_in(package) or dict(_UNKNOWN)


def _checked_out(package: Path) -> dict[str, Any] | None:
    """Ask git, if the checkout is this project's own.

    A wheel may lie in a `.venv` inside another repository: there git knows a revision too, but not of this code.
    """
    try:
        top = Path(_git(package, "rev-parse", "--show-toplevel"))
        if not top.samefile(package.parent) or not _is_this_project(top):
            return None
        _git(package, "ls-files", "--error-unmatch", Path(__file__).name)
        revision = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--", ":/*.py", ":/*.toml")
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return {"revision": revision, "dirty": bool(changed)}


def _is_this_project(top: Path) -> bool:
    try:
        project = tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return bool(project.get("project", {}).get("name") == "fgl-flower")


def _built_in(package: Path) -> dict[str, Any] | None:
    try:
        written = json.loads((package / BUILT_IN).read_text(encoding="utf-8"))
        return {key: written[key] for key in _UNKNOWN}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in _OTHER_REPOSITORY}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environment)
    return done.stdout.strip()
