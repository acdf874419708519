"""Flower's own round that does nothing, on the nodes of a federation: what a round of ours is compared with.

python -m experiments.shows.noop OUT --nodes 10
"""

import argparse
import json
import time
from pathlib import Path

import tomli_w

from experiments.deploy.running import flwr, json_of, status_of
from experiments.shows.federation import Federation, can_lay_cables, write_shares
from fgl_flower.config import RunConfig
from fgl_flower.data.world import CLASSES
from fgl_flower.files import read_json_lines

_APP = """
import json
import time

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

server = ServerApp()
client = ClientApp()


@client.query("nothing")
def nothing(message, context):
    return Message(RecordDict({"config": ConfigRecord({"n": 1})}), reply_to=message)


@server.main()
def main(grid, context):
    seconds = []
    for _ in range(2):
        messages = [Message(RecordDict(), node, "query.nothing") for node in grid.get_node_ids()]
        began = time.monotonic()
        replies = list(grid.send_and_receive(messages))
        seconds.append(time.monotonic() - began)
        assert len(replies) == len(messages) and not any(reply.has_error() for reply in replies)
    with open(context.run_config["out"], "w") as file:
        json.dump(seconds, file)
"""


def noop_seconds(server: Path, folder: Path) -> list[float]:
    """Return how long two rounds in a row took that ask every node for nothing, by Flower's own grid."""
    app, out = folder / "noop", folder / "noop.json"
    (app / "noop").mkdir(parents=True)
    (app / "noop" / "__init__.py").write_text(_APP)
    config = {
        "project": {"name": "noop", "version": "1.0.0", "license": "Apache-2.0", "dependencies": []},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "noop",
                    "components": {"serverapp": "noop:server", "clientapp": "noop:client"},
                    "config": {"out": str(out)},
                }
            }
        },
    }
    (app / "pyproject.toml").write_text(tomli_w.dumps(config))
    run_id = int(json_of(flwr(server, "run", str(app), "--format", "json"))["run-id"])
    while not status_of(run_id, server, "").startswith("finished"):
        time.sleep(3)
    return list(json.loads(out.read_text()))


def main() -> None:
    """Time a class-level prompt round and a round of nothing on the same nodes, in turn."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    told = parser.parse_args()
    out, count = told.out.resolve(), told.nodes
    out.mkdir(parents=True, exist_ok=True)
    shares = write_shares(RunConfig(private_images=60 * count, clients=count), out / "shares")
    nodes = {f"node-{i}": {"data": f"folder:{share}"} for i, share in enumerate(shares)}
    federation = Federation(out, nodes, namespaces=can_lay_cables())
    with federation.up():
        time.sleep(20)
        for turn in range(told.turns):
            (out / f"turn-{turn}").mkdir()
            nothing = noop_seconds(out / "hosts/server", out / f"turn-{turn}")
            config = RunConfig(
                classes=", ".join(CLASSES),
                clients=count,
                images_per_class=2,
                server_epochs=1,
                prompt_level="class-style",
                client_evaluation=False,
                name=f"turn-{turn}",
                runs_dir=str(out / "runs"),
                node_timeout=300,
            )
            file = out / f"run-{turn}.toml"
            file.write_text(tomli_w.dumps({k: v for k, v in config.to_flat().items() if v != ""}))
            federation.command("fgl", "deploy", "run", file.name, "hosts/server")
            events = read_json_lines(out / "runs" / f"turn-{turn}" / "metrics.jsonl")
            ours = next(e["seconds"] for e in events if e["event"] == "answers" and e["asked"] == "query.prompts")
            print(
                f"{count} nodes: prompts {ours:.1f} s; nothing {nothing[0]:.1f} s in a run's first round, "
                f"{nothing[1]:.1f} s in its second; prompts in {ours / nothing[0]:.2f} times the first",
                flush=True,
            )


if __name__ == "__main__":
    main()
