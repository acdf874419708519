"""One federation of `fgl bench clients`, in a process of its own: `python -m experiments.bench.federations JSON`.

The JSON names the method, the engine and the protocol; the last line of the output is what was measured, as JSON.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid

from experiments.bench.protocol import Clock, Federation, Figures
from fgl_flower.errors import RunError

TURNS = 3  # rounds of methods that train nothing
WEIGHED = 100  # replies whose bytes are counted


def asked(grid: Grid, settings: Federation) -> Figures:
    """Ask all clients three times for prompts, or for nothing, and send them the final model."""
    from fgl_flower.learning.building import build_model
    from fgl_flower.wire.arrays import to_arrays
    from fgl_flower.wire.sizes import message_bytes
    from strategies.streaming import Stragglers, replies_of

    while len(nodes := list(grid.get_node_ids())) < settings.clients:
        time.sleep(0.05)

    def ask(kind: str, content: RecordDict, of: Sequence[int]) -> list[Message]:
        """Return some of the answers: what is read is held no longer."""
        messages = (Message(content, node, kind) for node in of)
        some, came = list[Message](), 0
        for reply in replies_of(grid, list(messages), None, Stragglers()):
            if reply.has_error():
                raise RunError(f"a client failed: {reply.error.reason}")
            came += 1
            if len(some) < WEIGHED:
                some.append(reply)
        if came < len(of):
            raise RunError(f"{len(of) - came} of {len(of)} clients did not answer")
        return some

    kind = "query.prompts" if settings.method == "prompts" else "query.nothing"
    number = ConfigRecord({"server-round": 0})
    question, replies, clock = RecordDict({"config": number}), list[Message](), Clock()
    ask(kind, question, nodes[:1])  # what starts first is not a round's
    clock.end()
    for _ in range(TURNS):
        replies = ask(kind, question, nodes)
        clock.end()
    broadcast = None
    if settings.method == "prompts":
        config = settings.config
        model = to_arrays(build_model(config.model, 10, config.norm, seed=0))
        began = time.monotonic()
        ask("query.model", RecordDict({"arrays": model, "config": number}), nodes)
        broadcast = time.monotonic() - began
    up = round(statistics.mean(map(message_bytes, replies)))
    down = message_bytes(Message(question, nodes[0], kind))
    return Figures(clock.start_seconds(), clock.seconds(), broadcast, up, down)


def with_fgl(settings: Federation) -> Figures:
    """Run FedAvg as `fgl run` does."""
    from experiments.runner import run_folder
    from fgl_flower.records.reading import read_result

    clock = Clock()

    def watch(phase: str, done: int, total: int) -> None:
        if phase == "rounds" and done:
            clock.end()

    with tempfile.TemporaryDirectory() as folder:
        config = settings.config.model_copy(update={"runs_dir": folder})
        result = read_result(run_folder(config, engine="ray" if settings.engine == "Ray" else "inline", watch=watch))
    up, down = round(result.bytes_up_per_client), round(result.bytes_down_per_client)
    return Figures(clock.start_seconds(), clock.seconds(), None, up, down, result.accuracy)


def with_flower(settings: Federation) -> Figures:
    """Run Flower's own simulation: FedAvg around the same training function, or clients that do nothing."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    from experiments.bench import nothing_app, plain_app

    server, found = ServerApp(), list[Figures]()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        if settings.method == "nothing":
            found.append(asked(grid, settings))
            return
        clock = Clock()
        accuracy = plain_app.fedavg(grid, settings.config, settings.cohort, clock.end)
        found.append(Figures(clock.start_seconds(), clock.seconds(), accuracy=accuracy))

    workers = torch_threads_here()
    app: Any = nothing_app.app if settings.method == "nothing" else plain_app.PlainClient(settings.config.to_flat())
    run_simulation(
        server_app=server,
        client_app=app,
        num_supernodes=settings.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0},
            "init_args": {"address": "local", "num_cpus": workers},
        },
    )
    return found[0]


def in_process(settings: Federation) -> Figures:
    """Ask the clients of this process."""
    from clients.client_app import simulated
    from experiments.bench.nothing_app import app as nothing
    from fgl_flower.simulation import InlineGrid

    app = simulated if settings.method == "prompts" else nothing
    return asked(InlineGrid(app, settings.clients, settings.config.to_flat()), settings)


def on_ray(settings: Federation) -> Figures:
    """Ask the clients of the project's simulation on Ray."""
    from experiments.ray_simulation import simulate_on_ray

    found: list[Figures] = []
    simulate_on_ray(settings.config, lambda grid, go_on: found.append(asked(grid, settings)))
    return found[0]


def torch_threads_here() -> int:
    """Return how many clients work at once: as many as the project's own engines take."""
    import torch

    return torch.get_num_threads()


def measure(settings: Federation) -> Figures | None:
    """Return what the federation took; None from a process that only helps another one."""
    if settings.engine.startswith("pfl"):
        from experiments.bench.pfl_federation import with_pfl

        return with_pfl(settings)
    if settings.engine == "Flower":
        return with_flower(settings)
    if settings.method == "fedavg":
        return with_fgl(settings)
    return on_ray(settings) if settings.engine == "Ray" else in_process(settings)


if __name__ == "__main__":
    figures = measure(Federation(**json.loads(sys.argv[1])))
    if figures is not None:
        print(json.dumps(asdict(figures)), flush=True)
