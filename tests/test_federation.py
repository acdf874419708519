"""Real processes: a SuperLink with TLS and keys, three nodes with data and rules of their own; what may go wrong."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.shows.federation import Federation, can_lay_cables, free_port, write_shares
from fgl_flower.config import RunConfig
from fgl_flower.files import read_json, read_json_lines
from fgl_flower.records.reading import read_run

FGL = str(Path(sys.executable).parent / "fgl")
NODES = ("berlin", "paris", "oslo")


def wait_until(happened: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < end, f"it did not come to this: {what}"
        time.sleep(0.2)
    return result


@pytest.mark.timeout(480)
def test_three_nodes_of_their_own_through_a_crash_of_the_server_and_the_loss_of_a_node(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    shares = write_shares(RunConfig(private_images=60, clients=3, partition="iid"), tmp_path / "data")
    for split in ("validation", "test"):
        shutil.copytree(shares[0], tmp_path / "server-data" / split)
    nodes = {name: {"data": f"folder:{share}"} for name, share in zip(NODES, shares, strict=True)}
    federation = Federation(tmp_path / "out", nodes, namespaces=can_lay_cables())
    folder = tmp_path / "runs" / "trial"
    (tmp_path / "run.toml").write_text(
        f'name = "trial"\ndataset = "folder:{tmp_path / "server-data"}"\nclasses-from = "{shares[0]}"\n'
        f'clients = 3\nrounds = 1\nlocal-epochs = 1\nimages-per-class = 3\nserver-epochs = 1\ndevice = "cpu"\n'
        f'generator = "{tiny_checkpoint}"\nruns-dir = "{tmp_path / "runs"}"\nround-timeout = 30.0\nmin-clients = 2\n'
        "client-evaluation = false\n"
        'model = "experiments.examples.own_classifier:plain_network"\n'
    )

    def run(*more: str) -> subprocess.Popen[str]:
        command = [FGL, "deploy", "run", str(tmp_path / "run.toml"), str(tmp_path / "out/hosts/server"), *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with federation.up():
        hosts = tmp_path / "out" / "hosts"
        # Paris answers with names of classes alone; nodes read their rules with each message.
        (hosts / "nodes/paris/policy.toml").write_text('levels = ["class"]\notherwise = "class"\nmin-images = 2\n')
        stranger = hosts / "nodes" / "stranger"
        shutil.copytree(hosts / "nodes" / "oslo", stranger)
        federation.command("ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", str(tmp_path / "key"))
        shutil.copy(tmp_path / "key", stranger / "node.key")
        script = (stranger / "start.sh").read_text()
        (stranger / "start.sh").write_text(re.sub(r"--port \d+", f"--port {free_port()}", script))
        federation.start_node("stranger")
        turned_away = "Failed to activate SuperNode"
        wait_until(lambda: turned_away in federation.said("stranger"), 90, "a key that is not registered is refused")
        assert not any(turned_away in federation.said(name) for name in NODES)

        first = run()
        wait_until(lambda: list(folder.glob("state/replies/query.prompts-0-1")), 120, "prompts arrive")
        wait_until(lambda: read_json(folder / "progress.json", {}).get("phase"), 120, "images are drawn")
        os.kill(read_json(folder / "status.json")["process"], signal.SIGKILL)
        said, _ = first.communicate(timeout=120)
        assert first.returncode == 1, said
        assert not (folder / "result.json").exists()

        second = run("--resume", str(folder))
        wait_until(
            lambda: read_json(folder / "progress.json", {}).get("clients", {}).get("asked") == "train", 150, "a round"
        )
        federation.stop("oslo", signal.SIGKILL)
        said, _ = second.communicate(timeout=200)
        assert second.returncode == 0, said + (tmp_path / "out/server.log").read_text()[-3000:]

    found = read_run(folder)
    result = found.result
    assert result is not None
    assert result.resumed == 1
    assert result.engine == "deployment"
    assert result.accuracy is not None
    assert result.synthetic_images == 30
    assert len(result.app) == 64
    assert set(result.nodes) == {"0", "1"}
    assert result.nodes["0"] == result.versions
    assert {one.client for one in result.failures} == {"2"}
    assert all(one.rounds == [1] for one in result.failures)
    assert not result.quarantined
    assert any("client 1: by its owner's rules it answered at the level 'class'" in one for one in result.warnings)
    for number, name in enumerate(NODES):
        sent = read_json_lines(federation.log_of(name))
        asked = [(line["asked"], line["round"], line["run"]) for line in sent]
        assert len(asked) == len(set(asked))
        assert sum(kind == "query.prompts" for kind, *_ in asked) == 1, "prompts are not asked for twice"
        if name == "paris":
            assert "class" in str(sent[0]["payload"])
            assert "photo" not in str(sent[0]["payload"])
        if name != "oslo":  # its last reply may have left when it was killed
            up = found.ledger["bytes_by_client"][str(number)]["up"]
            logged = sum(line["bytes"] for line in sent)
            assert logged <= up <= logged + 400 * len(sent), (
                "the ledger counts what the owner's log says, and envelopes"
            )
