"""The owner's log of what left the node: a line of JSON a reply, appended before it leaves.

Flower's node config names the file (``log="/var/lib/fgl/sent.jsonl"``). Where it cannot be written, nothing leaves.
"""

import json
import os
import time
import zlib
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict

from fgl_flower.wire.sizes import object_bytes, object_digest


def note(path: str, message: Message, content: RecordDict) -> None:
    """Append what answers a message: time, run, kind of message, bytes, SHA-256 of them and, of prompts, the text."""
    settings: Any = message.content.config_records.get("config", {})
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run": message.metadata.run_id,
        "asked": message.metadata.message_type,
        "round": settings.get("server-round", 0),
        "bytes": object_bytes(content),
        "sha256": object_digest(content),
        **_said(content),
    }
    file = os.open(Path(path).expanduser(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        os.fsync(file)
    finally:
        os.close(file)


def _said(content: RecordDict) -> dict[str, Any]:
    """Return the words and numbers in a reply."""
    said: dict[str, Any] = {name: dict(record) for name, record in content.metric_records.items()}
    for record in content.config_records.values():
        if isinstance(data := record.get("data"), bytes):
            said["payload"] = json.loads(zlib.decompress(data))
            said["arrays"] = {key: _length(value) for key, value in record.items() if key != "data"}
    for name, arrays in content.array_records.items():
        said[name] = {key: list(array.shape) for key, array in arrays.items()}
    return said


def _length(value: Any) -> int:
    return sum(map(len, value)) if isinstance(value, list) else len(value)
