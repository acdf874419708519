"""The last message of a run: the final model, for every client."""

from collections.abc import Callable

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from fgl_flower.config import RunConfig
from fgl_flower.records.environment import versions
from strategies.gate import MODEL_MESSAGE
from strategies.guarded_grid import GuardedGrid

_ALIKE = ("fgl-flower", "flwr", "torch")  # libraries whose versions should be the same everywhere


def broadcast(grid: GuardedGrid, arrays: ArrayRecord, config: RunConfig, warn: Callable[[str], None]) -> None:
    """Hand every client the final model, which it acknowledges; warn of nodes that run other versions."""
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": config.rounds})})
    messages = [Message(content, node, MODEL_MESSAGE) for node in grid.get_node_ids()]
    grid.send_and_receive(messages, timeout=config.round_timeout)
    own = versions()
    for client, told in sorted(grid.versions.items()):
        if other := [f"{n} {told.get(n, '-')} (here {own[n]})" for n in _ALIKE if n in own and told.get(n) != own[n]]:
            warn(f"client {client} runs other versions than the server: {', '.join(other)}")
