"""Waiting for clients: Flower starts the server before they register."""

import time
from collections.abc import Callable

from flwr.serverapp import Grid

from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError


def wait_for_clients(
    grid: Grid, config: RunConfig, warn: Callable[[str], None] = lambda sentence: None, poll: float = 0.5
) -> None:
    """Wait until all clients are there, for `node-timeout` seconds at most; warn if it is enough that fewer came.

    Raises
    ------
    RunError
        If fewer than `min-clients` have come by then.
    """
    deadline = time.monotonic() + config.node_timeout
    while (there := len(list(grid.get_node_ids()))) < config.clients and time.monotonic() < deadline:
        time.sleep(poll)
    least = config.min_clients or config.clients
    if there < least:
        wanted = f"min-clients = {least}" if config.min_clients else f"{config.clients} clients"
        raise RunError(f"only {there} of {wanted} came within node-timeout = {config.node_timeout:g} s")
    if there < config.clients:
        warn(
            f"{there} of {config.clients} clients came within node-timeout = {config.node_timeout:g} s: the run began "
            "without the others"
        )
