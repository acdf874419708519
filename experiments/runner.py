"""One run from a configuration to a finished folder, with the clients in this process or as Ray actors."""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any, Literal

from flwr.app import Context, Message

from clients.client_app import simulated
from clients.shared import SharedData
from clients.simulated import ConfiguredClient
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import RunError, reason
from fgl_flower.interrupts import on_interrupt
from fgl_flower.preflight import preflight
from fgl_flower.records.observer import Observer
from fgl_flower.records.reading import read_result
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import CLIENT_ERRORS, RunFolder, Watch
from fgl_flower.report.observers import observers_of
from fgl_flower.simulation import InlineGrid
from strategies.server_app import serve

Engine = Literal["inline", "ray"]

OBJECT_STORE_BYTES = 2**30  # Ray would take 30 % of the memory; a model of ResNet-18's size is 45 MB a client
SECONDS_TO_END = 2.0  # for the server's thread of a simulation that is over


def run(
    config: RunConfig, *, engine: Engine = "inline", watch: Watch | None = None, observers: Sequence[Observer] = ()
) -> Result:
    """Check data and models, run `config` to the end and return its result; `run_folder` says more.

    Raises
    ------
    ConfigError
        Before anything is written: the data set or a model is missing.
    """
    preflight(config)
    return read_result(run_folder(config, engine=engine, watch=watch, observers=observers))


def run_folder(
    config: RunConfig,
    *,
    engine: Engine = "inline",
    command: str = "",
    watch: Watch | None = None,
    observers: Sequence[Observer] = (),
    resume: Path | None = None,
) -> Path:
    """Run a configuration that has passed `preflight` to the end and return its run folder.

    Parameters
    ----------
    config : RunConfig
    engine : "inline" or "ray"
        Call the clients in this process, several at a time, or spread them over Ray actors by Flower's own simulation.
        Both give the same result to the bit; Ray pays off where clients are heavy and cores are many.
    command : str
        The command line, kept for the report.
    watch : callable, optional
        Told of the progress: ``watch(phase, done, total)``.
    observers : sequence of Observer
        Hear of the run besides those that write its page and, where asked for, TensorBoard's files.
    resume : Path, optional
        The folder of a run of the same keys that ended early: it goes on from the last finished step.

    Raises
    ------
    RunError, Exception
        Whatever ended the run; its folder is then marked failed.
    """
    told = [*observers_of(config), *observers]
    if resume is not None:
        opened = RunFolder.reopen(resume, config, watch=watch, observers=told)
    else:
        opened = RunFolder.create(config, command=command, engine=engine, watch=watch, observers=told)
    with (
        opened as folder,
        on_interrupt(lambda: folder.fail("interrupted")),
    ):
        try:
            if engine == "ray":
                _serve_with_ray(config, folder)
            else:
                grid = InlineGrid(simulated, config.clients, config.to_flat(), workers=client_workers(config, "inline"))
                serve(grid, config, folder, engine="inline")
        except Exception as error:
            if (whole := folder.path / CLIENT_ERRORS).exists():
                error.add_note(f"the clients' whole errors: {whole}")
            raise
    return folder.path


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


def _serve_with_ray(config: RunConfig, folder: RunFolder) -> None:
    os.environ.setdefault("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(OBJECT_STORE_BYTES))
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a thread that outlives the simulation starts Ray once more
    import ray
    import torch
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    server_app, over, threads = ServerApp(), Event(), list[Thread]()
    client = ConfiguredClient(config.to_flat())

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        # Flower runs this in a thread that outlives a simulation that broke or was interrupted, waiting a whole
        # round-timeout for replies: it ends where it next pulls replies or tells of its progress.
        threads.append(current_thread())
        pull, watch = grid.pull_messages, folder.watch

        def go_on() -> None:
            if over.is_set():
                raise RunError("the simulation is over")

        def pull_while_clients_live(message_ids: Iterable[str]) -> Iterable[Message]:
            go_on()
            return pull(message_ids)

        def watch_while_clients_live(phase: str, done: int, total: int) -> None:
            go_on()
            if watch is not None:
                watch(phase, done, total)

        grid.pull_messages = pull_while_clients_live  # type: ignore[method-assign]
        folder.watch = watch_while_clients_live
        if config.method not in METHODS_WITHOUT_CLIENTS and not config.prompt_every:  # with it files may change
            data = SharedData.of(config, lambda done, total: folder.progress("images decoded", done, total))
            while not ray.is_initialized():  # it starts meanwhile
                go_on()
                time.sleep(0.05)
            client.put(data)
        serve(grid, config, folder, engine="ray")

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
