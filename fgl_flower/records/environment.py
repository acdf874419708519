"""What a run stood on: interpreter, libraries, processor and the revision of this code; never host or user names."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = (
    "fgl-flower",
    "flwr",
    "flwr-datasets",
    "ray",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "kornia",
    "datasets",
    "torchmetrics",
    "safetensors",
    "numpy",
    "pyarrow",
    "pillow",
)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change a result."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def git_state() -> dict[str, Any]:
    """Return ``{"revision": str | None, "dirty": bool | None}`` of the checkout that holds this file.

    Both are None outside a checkout, for instance in an installed wheel or in the copy that Flower makes of an app.
    Dirty means that a Python or TOML file differs from the revision or is unknown to it.
    """
    folder = Path(__file__).resolve().parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", ":/*.py", ":/*.toml")
    except (OSError, subprocess.SubprocessError):
        return {"revision": None, "dirty": None}
    return {"revision": revision, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def describe() -> dict[str, Any]:
    """Return the contents of environment.json: platform, processor, memory in bytes, libraries, git."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerator": _accelerator(),
        "libraries": versions(),
        "git": git_state(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")  # importing it only to say that there is none would cost seconds
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))
