"""Who runs a run: an id alone is soon another process's, in a container or after a restart of the machine."""

import hashlib
import os
import platform
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

GONE = "its process ended without a word (killed, or out of memory)"
_SAME_START = 2.0  # seconds: the clock of a machine is set now and then


def identity() -> dict[str, Any]:
    """Return what tells this process from every other: `process` (id), `started` (Unix seconds) and `host` (a hash)."""
    return {"process": os.getpid(), "started": psutil.Process().create_time(), "host": _host()}


def why_gone(status: Mapping[str, Any]) -> str:
    """Return why the process of this identity is not known to run; empty if it runs.

    A status without start and host, of an older version, is judged by the id alone.
    """
    if status.get("host", _host()) != _host():
        return "it was started on another machine or before a restart of this one: whether it still runs is unknown"
    try:
        process = psutil.Process(int(status["process"]))
        started = status.get("started", process.create_time())
        if process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) <= _SAME_START:
            return ""
    except psutil.NoSuchProcess:
        pass
    return GONE


@cache
def _host() -> str:
    """Return a hash that is another one on each machine, in each container and after each start; never the name."""
    try:
        unique = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        unique = f"{uuid.getnode():x}"
    return hashlib.sha256(f"{unique} {platform.node()}".encode()).hexdigest()[:16]
