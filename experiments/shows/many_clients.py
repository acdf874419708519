"""What simulated clients cost: `python -m experiments.shows.many_clients 1000 [CLIENTS ...]`.

A prompt round at the level class-style and the final broadcast, in process, on the world divided evenly: seconds of
each and the peak memory of the process.
"""

import argparse
import resource
import time
from collections.abc import Callable

from flwr.app import ConfigRecord, Message, RecordDict

from clients.client_app import app
from experiments.shows.lines import print_line
from fgl_flower.config import RunConfig
from fgl_flower.learning.building import build_model
from fgl_flower.simulation import InlineGrid
from fgl_flower.wire.arrays import to_arrays


def measure(clients: int) -> dict[str, float]:
    """Return seconds and memory of so many clients, each with at least one image."""
    config = RunConfig(clients=clients, private_images=max(2100, clients), partition="iid")
    grid = InlineGrid(app, clients, config.to_flat())
    settings = ConfigRecord({"server-round": 0})

    def seconds(content: Callable[[], RecordDict], kind: str) -> float:
        start = time.perf_counter()
        replies = list(grid.send_and_receive([Message(content(), node, kind) for node in grid.get_node_ids()]))
        assert len(replies) == clients
        assert not any(reply.has_error() for reply in replies)
        return time.perf_counter() - start

    question = RecordDict({"config": settings})
    drawn = seconds(lambda: question, "query.prompts")
    model = RecordDict({"arrays": to_arrays(build_model(config.model, 10, config.norm, seed=0)), "config": settings})
    broadcast = seconds(lambda: model, "query.model")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"clients": clients, "prompt_round_seconds": drawn, "broadcast_seconds": broadcast, "peak_mib": peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", type=int, nargs="+")
    for number in parser.parse_args().clients:
        print_line(measure(number))
