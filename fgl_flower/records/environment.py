"""What a run stood on: interpreter, libraries, processor and the revision of this code; never host or user names."""

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from fgl_flower.revision import git_state

__all__ = ["cores", "describe", "git_state", "versions"]

LIBRARIES = (
    "fgl-flower",
    "flwr",
    "flwr-datasets",
    "ray",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "kornia",
    "datasets",
    "safetensors",
    "numpy",
    "pyarrow",
    "pillow",
)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change a result."""
    result = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return the contents of environment.json: platform, processor, memory in bytes, libraries, git."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_count": cores(),
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
