"""SIGKILL of the ServerApp at ten random moments of one deployed run, resumed each time, beside runs left alone.

The same TOML is run three times: simulated in process, deployed without a fault, deployed and killed. Prompts,
synthetic images and, of the deployed two, the final model must be the same; no client may be asked again for what had
arrived.

    python -m experiments.shows.killed_app OUT
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import tomli_w
from flwr.app import ConfigRecord, Message, RecordDict

from clients.client_app import app
from experiments.shows.federation import BIN, Federation, can_lay_cables
from fgl_flower.config import RunConfig
from fgl_flower.files import read_json, read_json_lines
from fgl_flower.records.reading import read_run
from fgl_flower.simulation import InlineGrid
from fgl_flower.synthesis.maintenance import verify
from fgl_flower.wire.sizes import object_digest
from strategies.resume.journal import Journal

NODES = ("berlin", "paris", "oslo")


def keys_of(config: RunConfig) -> dict[str, Any]:
    """Return what stands in a TOML of this configuration."""
    return {key: value for key, value in config.to_flat().items() if value != ""}


def deploy(federation: Federation, file: str, *more: str) -> subprocess.Popen[str]:
    """Start `fgl deploy run`."""
    words = [str(BIN / "fgl"), "deploy", "run", file, "hosts/server", *more]
    return subprocess.Popen(words, cwd=federation.out, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_and_resume(federation: Federation, folder: Path, kills: int, moments: random.Random) -> list[str]:
    """Kill the ServerApp of a run `kills` times and go on with it each time.

    Returns
    -------
    list of str
        What was asked again though the answer had arrived.
    """
    since = {name: len(read_json_lines(federation.log_of(name))) for name in NODES}
    ids = {int(federation.said(name).split("SuperNode ID: ")[1].split()[0]): name for name in NODES}
    arrived: dict[tuple[str, str], int] = {}  # question and node: answers in the owner's log when it was first kept
    process, known = deploy(federation, f"{folder.name}.toml"), 0
    for number in range(kills):
        while (now := read_json(folder / "status.json", {}).get("process", 0)) in {0, known}:
            time.sleep(0.1)
        known = now
        time.sleep(moments.uniform(5, 45))  # seconds; to start again takes some ten
        if read_json(folder / "status.json", {}).get("state") != "running":
            raise SystemExit(f"the run ended after {number} kills: nothing was left to interrupt")
        os.kill(known, signal.SIGKILL)
        journal = Journal(folder / "state" / "replies")
        for call in sorted(journal.folder.glob("*")):
            for node in journal.read(call.name):
                key = call.name.rpartition("-")[0], ids[node]
                arrived.setdefault(key, answers(federation, ids[node], since[ids[node]])[key[0]])
        progress = read_json(folder / "progress.json", {})
        asked = progress.get("clients", {})
        print(
            f"kill {number + 1}: {progress.get('phase') or 'no phase yet'} {progress.get('done', 0)} of "
            f"{progress.get('total', 0)}; {asked.get('answered', 0)} of {asked.get('of', 0)} have answered "
            f"{asked.get('asked', 'nothing')}",
            flush=True,
        )
        said, _ = process.communicate()
        if process.returncode != 1:
            raise SystemExit(f"fgl deploy run ended with {process.returncode}: {said[-1000:]}")
        process = deploy(federation, f"{folder.name}.toml", "--resume", str(folder))
    said, _ = process.communicate()
    print(said)
    final = {name: answers(federation, name, since[name]) for name in NODES}
    return [f"{name}: {call}" for (call, name), count in arrived.items() if final[name][call] != count]


def answers(federation: Federation, node: str, since: int) -> Counter[str]:
    """Return how often a node has answered each question, by its owner's log of this run."""
    lines = read_json_lines(federation.log_of(node))[since:]
    return Counter(f"{line['asked']}-{line['round']}" for line in lines)


def prompts_of(config: RunConfig) -> list[str]:
    """Return the hashes of what the clients of a simulation answer to a prompt round."""
    grid = InlineGrid(app, config.clients, config.to_flat())
    question = RecordDict({"config": ConfigRecord({"server-round": 0})})
    messages = [Message(question, node, "query.prompts") for node in grid.get_node_ids()]
    return [object_digest(reply.content) for reply in grid.send_and_receive(messages)]


def main() -> None:
    """Print what is the same and what is not; exit code 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    config = RunConfig(
        private_images=600,
        clients=len(NODES),
        rounds=8,
        local_epochs=1,
        images_per_class=200,
        server_epochs=30,
        prompt_level="class-style",
        device="cpu",
        runs_dir=str(out / "runs"),
        node_timeout=300,
    )
    for name in ("simulated", "unbroken", "killed"):
        # Each draws into a store of its own: nothing is taken over from another's.
        own = config.model_copy(update={"name": name, "store_dir": str(out / f"store-{name}")})
        (out / f"{name}.toml").write_text(tomli_w.dumps(keys_of(own)))
    runs = {name: out / "runs" / name for name in ("simulated", "unbroken", "killed")}
    federation = Federation(out, {name: {} for name in NODES}, namespaces=can_lay_cables())
    # As many threads as the server and the nodes have: sums of floats depend on it, and rounds enlarge the difference.
    words = [str(BIN / "fgl"), "run", str(out / "simulated.toml")]
    subprocess.run(words, check=True, env=federation.environment())
    with federation.up():
        said, _ = deploy(federation, "unbroken.toml").communicate()
        print(said)
        again = kill_and_resume(federation, runs["killed"], given.kills, random.Random(given.seed))
    prompts = [read_json_lines(federation.log_of(name))[0]["sha256"] for name in NODES]
    found = {}
    for name, path in runs.items():
        result = read_run(path).result
        if result is None:
            raise SystemExit(f"{name} has no result: {path}")
        found[name] = result, hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
        print(
            f"{name}: accuracy {result.accuracy:.4f}, images {result.synthetic_digest[:16]}, model "
            f"{found[name][1][:16]}, resumed {result.resumed}, {result.seconds['total']:.0f} s"
        )
    store = verify(out / "store-killed")
    results = {name: result for name, (result, _) in found.items()}
    promises = {
        "prompts of simulated clients and nodes have the same hashes": sorted(prompts) == sorted(prompts_of(config)),
        "images are the same in all three": len({result.synthetic_digest for result in results.values()}) == 1,
        "simulated and deployed accuracy are within a point": (
            abs((results["simulated"].accuracy or 0) - (results["unbroken"].accuracy or 0)) <= 0.01
        ),
        "their models are the same to the bit": found["simulated"][1] == found["unbroken"][1],
        "the killed run's final model is the unbroken one's to the bit": found["killed"][1] == found["unbroken"][1],
        "no image is filed twice, no shard damaged": (
            not store.problems and store.images == results["killed"].synthetic_images
        ),
        f"no node was asked again for what had arrived {again or ''}": not again,
    }
    for promise, kept in promises.items():
        print(f"{'yes' if kept else 'NO '}  {promise}")
    sys.exit(not all(promises.values()))


if __name__ == "__main__":
    main()
