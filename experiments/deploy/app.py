"""The app as Flower takes it: a folder with the packages that server and nodes run, their revision built in."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import tomli_w

from fgl_flower.config import RunConfig
from fgl_flower.revision import BUILT_IN, git_state

PACKAGES = ("fgl_flower", "strategies", "clients")  # weights stay behind: they come with the installed package
_ROOT = Path(__file__).resolve().parent.parent.parent


def stage(folder: Path) -> None:
    """Write the app into an empty folder."""
    for package in PACKAGES:
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "fgl_flower" / BUILT_IN).write_text(json.dumps(git_state()), encoding="utf-8")
    app = {
        "publisher": "fgl-flower",
        "components": {"serverapp": "strategies.server_app:app", "clientapp": "clients.client_app:app"},
        "config": RunConfig().to_flat(),
    }
    project = {"name": "fgl-flower", "version": metadata.version("fgl-flower"), "license": "Apache-2.0"}
    text = tomli_w.dumps({"project": {**project, "dependencies": []}, "tool": {"flwr": {"app": app}}})
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
