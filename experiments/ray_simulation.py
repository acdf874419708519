"""Clients as Ray actors, by Flower's own simulation, around any server."""

import os
import time
from collections.abc import Callable, Iterable
from threading import Event, Thread, current_thread
from typing import Any, Literal

from flwr.app import Context, Message
from flwr.serverapp import Grid

from clients.shared import SharedData, can_share
from clients.simulated import ConfiguredClient
from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError, reason

__all__ = ["Engine", "client_workers", "simulate_on_ray"]

Engine = Literal["inline", "ray"]

OBJECT_STORE_BYTES = 2**30  # Ray would take 30 % of the memory; a model of ResNet-18's size is 45 MB a client
SECONDS_TO_END = 2.0  # for the server's thread of a simulation that is over


def client_workers(config: RunConfig, engine: Engine) -> int:
    """Return how many clients of a simulation work at the same time.

    By default as many as torch's threads here are enough for; one after the other in a process with a GPU, on which
    clients would wait for each other.
    """
    import torch

    from fgl_flower.device import resolve_device

    if engine == "inline" and resolve_device(config.device).type != "cpu":
        default = 1
    else:
        default = max(1, torch.get_num_threads() // config.client_cpus)
    return min(config.clients, config.client_workers or default)


def simulate_on_ray(
    config: RunConfig,
    main: Callable[[Grid, Callable[[], None]], None],
    decoded: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Start Ray, call ``main(grid, go_on)`` in a thread of this process, and shut Ray down when it returns.

    Parameters
    ----------
    config : RunConfig
        The clients'.
    main : callable
        The server. ``go_on()`` raises once the simulation is over, as the grid does when replies are pulled.
    decoded : callable
        Told how many images of how many are decoded, before `main` is called.

    Raises
    ------
    RunError
        If the simulation breaks down.
    Exception
        What `main` raised.
    """
    os.environ.setdefault("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(OBJECT_STORE_BYTES))
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a thread that outlives the simulation starts Ray once more
    import ray
    import torch
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    server_app, over, threads = ServerApp(), Event(), list[Thread]()
    client = ConfiguredClient(config.to_flat())

    def go_on() -> None:
        if over.is_set():
            raise RunError("the simulation is over")

    @server_app.main()
    def serve(grid: Grid, context: Context) -> None:
        # Flower runs this in a thread that outlives a simulation that broke or was interrupted, waiting a whole
        # round-timeout for replies: it ends where it next pulls replies or tells of its progress.
        threads.append(current_thread())
        pull = grid.pull_messages

        def pull_while_clients_live(message_ids: Iterable[str]) -> Iterable[Message]:
            go_on()
            return pull(message_ids)

        grid.pull_messages = pull_while_clients_live  # type: ignore[method-assign]
        if can_share(config):
            data = SharedData.of(config, decoded)
            while not ray.is_initialized():  # it starts meanwhile
                go_on()
                time.sleep(0.05)
            client.put(data)
        main(grid, go_on)

    workers = client_workers(config, "ray")
    resources: dict[str, Any] = {
        "num_cpus": config.client_cpus,
        "num_gpus": config.client_gpus or torch.cuda.device_count() / workers,
    }
    # "local": without an address Ray would follow the one that some `ray start` left behind, and find nobody there
    address = os.environ.get("RAY_ADDRESS")
    start: dict[str, Any] = {"address": address} if address else {"address": "local"}
    if not address:
        start["num_cpus"] = workers * config.client_cpus  # Ray believes it, which is how many actors there are
    try:
        run_simulation(
            server_app=server_app,
            client_app=client,  # type: ignore[arg-type]  # called, never looked into
            num_supernodes=config.clients,
            backend_config={"client_resources": resources, "init_args": start},
        )
    except RuntimeError as error:
        first: BaseException = error  # Flower's own words are but that there was an error
        while first.__cause__ is not None:
            first = first.__cause__
        if first is error:
            raise
        where = f" at RAY_ADDRESS = {address!r}" if address else ""
        raise RunError(f"the simulation on Ray{where} broke down: {reason(first)}") from error
    finally:
        over.set()
        for thread in threads:
            thread.join(SECONDS_TO_END)  # images that it has drawn are filed
