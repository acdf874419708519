"""The server's end of the wire: from a configuration to a finished run folder."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import RunError
from fgl_flower.extension_points import METHOD, is_strategy
from fgl_flower.preflight import preflight
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.observers import observers_of
from fgl_flower.wire.limits import Limits
from strategies.federated import strategy_of
from strategies.outcome import Outcome
from strategies.resume.state import RunState
from strategies.server import Server
from strategies.streaming import simulated_by_ray
from strategies.waiting import wait_for_clients

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run what Flower's run config describes."""
    config = RunConfig.parse(dict(context.run_config))
    engine = "ray" if simulated_by_ray(grid) else "deployment"
    preflight(config, divided=engine == "ray")
    observers = observers_of(config)
    if config.resume:
        opened = RunFolder.reopen(Path(config.resume), config, flower_run=context.run_id, observers=observers)
    else:
        opened = RunFolder.create(
            config, command="flwr run", engine=engine, flower_run=context.run_id, observers=observers
        )
    with opened as folder:
        serve(grid, config, folder, engine=engine)


def serve(grid: Grid, config: RunConfig, folder: RunFolder, *, engine: str = "inline") -> Result:
    """Run the configured method on the clients behind `grid` and write everything it leaves into `folder`.

    Parameters
    ----------
    grid : Grid
        Flower's grid or an `InlineGrid`.
    config : RunConfig
    folder : RunFolder
        Made for this run and empty, or reopened.
    engine : str
        How the clients are run: inline, ray, or deployment.

    Returns
    -------
    Result
        What ``result.json`` holds.

    Raises
    ------
    ConfigError
        If data or a model is missing.
    RunError
        If clients do not come, or none gives a usable reply.
    """
    ledger, state = Ledger(config.clients), RunState(folder.path, folder.warn)
    if folder.resumed:
        folder.events.rewind(state.checkpoint.values["events"] if state.checkpoint else 0)
        folder.muted = state.checkpoint is not None  # until the accounts of that round are back
    with ledger.measuring():
        server = Server(grid, config, folder, ledger, engine=engine, limits=_limits(config), state=state)
        if engine == "deployment" and (config.dropout or config.straggler_seconds):
            folder.warn("dropout and straggler-seconds are simulated by fgl run alone: the nodes are as they are")
        if config.method not in METHODS_WITHOUT_CLIENTS:
            wait_for_clients(server.grid, config, folder.warn)
        result = server.finish(_run(server))
    result = result.model_copy(update=ledger.result_fields())
    folder.save_ledger(ledger.to_dict())
    folder.finish(result)
    state.remove()
    return result


def _run(server: Server) -> Outcome:
    """Run the configured method: a Flower strategy for its rounds, or a function of the server."""
    config = server.config
    if is_strategy(config.method):
        models = server.federate(strategy_of(config.method, config), config.rounds)
        return Outcome(models, figures={"privacy": server.promise.model_figures(config)} if server.promise else {})
    outcome = METHOD.load(config.method)(server)
    if not isinstance(outcome, Outcome):
        raise RunError(
            f"method = {config.method!r} returned a {type(outcome).__name__}, not a strategies.outcome.Outcome"
        )
    return outcome


def _limits(config: RunConfig) -> Limits | None:
    if not config.draws:
        return None
    from strategies.planning import limits_for  # diffusers takes seconds to import: only those who draw pay

    return limits_for(config)
