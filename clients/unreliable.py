"""Simulated clients that are away or late in a round, as real ones are."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from flwr.app import Message

from fgl_flower.wire.limits import SIMULATED

_ALWAYS_THERE = frozenset({"query.model"})  # taking the final model says nothing of a method


def absence(message: Message, partition_id: int, run_config: Mapping[str, Any]) -> str:
    """Return why a simulated client does not answer a message in time, "" if it does.

    A client is away in a round, whatever it is asked, with the probability ``dropout``; its answers take as long as an
    exponential distribution of the mean ``straggler-seconds`` says, and count as late beyond the round's timeout. Both
    depend on the run's seed, the client and the round alone: no time passes, and engines agree.
    """
    kind = message.metadata.message_type
    if kind in _ALWAYS_THERE:
        return ""
    settings: Any = message.content.config_records.get("config", {})
    who = f"{run_config['seed']}/{partition_id}/{settings.get('server-round', 0)}"
    if _uniform(f"away/{who}") < float(run_config.get("dropout", 0)):
        return f"{SIMULATED}away in this round"
    mean = float(run_config.get("straggler-seconds", 0))
    timeout = float(run_config["round-timeout"])
    if kind == "query.prompts":
        timeout = float(run_config["prompt-timeout"]) or timeout
    if -mean * math.log1p(-_uniform(f"late/{who}/{kind}")) > timeout:
        return f"{SIMULATED}no answer within {timeout:g} s"
    return ""


def _uniform(text: str) -> float:
    """Return a number in [0, 1) that a text stands for."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
