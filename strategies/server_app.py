"""The server's end of the wire: from a configuration to a finished run folder."""

from collections.abc import Callable, Sequence

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.preflight import preflight
from fgl_flower.records.ledger import Ledger
from fgl_flower.records.result import Result
from fgl_flower.records.run_folder import RunFolder
from strategies.centralised import centralised
from strategies.federated import STRATEGIES
from strategies.local import local
from strategies.server import Server

Method = Callable[[Server], Sequence[ArrayRecord]]  # to the final global model, or to one model a client


def _fgl(server: Server) -> Sequence[ArrayRecord]:
    from strategies.generative import fgl  # diffusers takes seconds to import: only those who draw pay

    return fgl(server)


def _mixed(server: Server) -> Sequence[ArrayRecord]:
    from strategies.generative import mixed

    return mixed(server)


def _federated(name: str) -> Method:
    return lambda server: server.federate(STRATEGIES[name](server.config), server.config.rounds)


METHODS: dict[str, Method] = {
    "fgl": _fgl,
    "mixed": _mixed,
    "centralised": centralised,
    "local": local,
    **{name: _federated(name) for name in STRATEGIES},
}

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run what Flower's run config describes."""
    config = RunConfig.parse(dict(context.run_config))
    engine = "ray" if type(grid).__name__ == "InMemoryGrid" else "deployment"
    preflight(config, divided=engine == "ray")
    with RunFolder.create(config, command="flwr run", engine=engine) as folder:
        serve(grid, config, folder)


def serve(grid: Grid, config: RunConfig, folder: RunFolder) -> Result:
    """Run the configured method on the clients behind `grid` and write everything it leaves into `folder`.

    Parameters
    ----------
    grid : Grid
        Flower's grid or an `InlineGrid`.
    config : RunConfig
    folder : RunFolder
        Made for this run and empty.

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
    ledger = Ledger(config.clients)
    with ledger.measuring():
        server = Server(grid, config, folder, ledger)
        if config.method not in METHODS_WITHOUT_CLIENTS:
            server.wait_for_clients()
        result = server.finish(METHODS[config.method](server))
    result = result.model_copy(update=ledger.result_fields())
    folder.save_ledger(ledger.to_dict())
    folder.finish(result)
    return result
