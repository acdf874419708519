"""One run from a configuration to a finished folder, with the clients in this process or as Ray actors."""

from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path

from flwr.serverapp import Grid

from clients.client_app import simulated
from clients.shared import SharedData, can_share, sharing
from experiments.ray_simulation import Engine, client_workers, simulate_on_ray
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.device import resolve_device
from fgl_flower.interrupts import on_interrupt
from fgl_flower.preflight import preflight
from fgl_flower.processes import can_fork
from fgl_flower.records.observer import Observer
from fgl_flower.records.reading import read_result
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import CLIENT_ERRORS, RunFolder, Watch
from fgl_flower.report.observers import observers_of
from fgl_flower.simulation import InlineGrid
from strategies.server_app import serve


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
                _serve_in_process(config, folder)
        except Exception as error:
            if (whole := folder.path / CLIENT_ERRORS).exists():
                error.add_note(f"the clients' whole errors: {whole}")
            raise
    return folder.path


def _serve_in_process(config: RunConfig, folder: RunFolder) -> None:
    workers = client_workers(config, "inline")
    forked = workers > 1 and can_fork(resolve_device(config.device).type)
    sharing_images = can_share(config)
    grid = InlineGrid(simulated, config.clients, config.to_flat(), workers=workers, forked=forked, early=sharing_images)
    if forked and config.method not in METHODS_WITHOUT_CLIENTS:
        for module in ("clients.training", "torch._dynamo"):  # an optimiser imports the second when it is made
            import_module(module)  # once for all processes, which are forked from this one
    data = None
    if sharing_images:
        data = SharedData.of(config, lambda done, total: folder.progress("images decoded", done, total))
    with sharing(data), closing(grid):
        serve(grid, config, folder, engine="inline")


def _serve_with_ray(config: RunConfig, folder: RunFolder) -> None:
    def main(grid: Grid, go_on: Callable[[], None]) -> None:
        watch = folder.watch

        def watch_while_clients_live(phase: str, done: int, total: int) -> None:
            go_on()
            if watch is not None:
                watch(phase, done, total)

        folder.watch = watch_while_clients_live
        serve(grid, config, folder, engine="ray")

    simulate_on_ray(config, main, lambda done, total: folder.progress("images decoded", done, total))
