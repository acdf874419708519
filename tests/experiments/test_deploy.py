"""What `fgl deploy` writes and finds, `fgl node` shows and `fgl status` says."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from experiments.deploy.app import stage
from experiments.deploy.check import check
from experiments.deploy.hosts import Hosts
from experiments.deploy.init import init
from experiments.deploy.scripts import node_config
from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.files import write_json
from fgl_flower.records import process
from fgl_flower.records.run_folder import RunFolder
from tests.commands import fgl

HOSTS = """
name = "trial"
[server]
address = "127.0.0.1"
port = 18123
also = ["fgl.example.org"]
[nodes.berlin]
data = "folder:/data/x rays"
labels = "k9=dog, feline=cat"
[nodes.paris]
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    (tmp_path / "hosts.toml").write_text(HOSTS)
    return Hosts.read(tmp_path / "hosts.toml")


class TestInit:
    def test_each_host_gets_what_it_needs_and_no_secret_of_another(self, hosts: Hosts, tmp_path: Path) -> None:
        init(hosts, tmp_path / "out")
        found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
        own = {"ca.crt", "fgl-supernode.service", "node.key", "policy.toml", "start.sh"}
        server = {"ca.crt", "connection.toml", "fgl-superlink.service", "nodes/berlin.pub", "nodes/paris.pub"}
        server |= {"register.sh", "server.key", "server.pem", "start.sh"}
        assert found == {
            "authority/ca.crt",
            "authority/ca.key",
            *(f"server/{name}" for name in server),
            *(f"nodes/{node}/{name}" for node in ("berlin", "paris") for name in own),
        }
        secrets = list((tmp_path / "out").rglob("*.key"))
        assert len({path.read_bytes() for path in secrets}) == len(secrets) == 4
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in secrets)

    def test_the_servers_certificate_is_the_authoritys_and_names_its_addresses(
        self, hosts: Hosts, tmp_path: Path
    ) -> None:
        init(hosts, tmp_path)
        files = ("server/ca.crt", "server/server.pem")
        ca, server = (x509.load_pem_x509_certificate((tmp_path / file).read_bytes()) for file in files)
        server.verify_directly_issued_by(ca)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {str(name.value) for name in names} == {"127.0.0.1", "fgl.example.org", "localhost"}

    def test_a_nodes_public_key_at_the_server_is_that_of_its_private_key(self, hosts: Hosts, tmp_path: Path) -> None:
        init(hosts, tmp_path)
        private = serialization.load_ssh_private_key((tmp_path / "nodes/berlin/node.key").read_bytes(), None)
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        assert (tmp_path / "server/nodes/berlin.pub").read_bytes().strip() == public

    def test_again_keys_and_policies_stay_and_a_node_is_added(self, hosts: Hosts, tmp_path: Path) -> None:
        init(hosts, tmp_path)
        (tmp_path / "nodes/paris/policy.toml").write_text("training = false\n")
        before = {path: path.read_bytes() for path in [*tmp_path.rglob("*.key"), *tmp_path.rglob("policy.toml")]}
        more = Hosts.model_validate({**hosts.model_dump(), "nodes": {**hosts.model_dump()["nodes"], "oslo": {}}})
        made = init(more, tmp_path)
        assert {path: path.read_bytes() for path in before} == before
        assert [line for line in made if "new key" in line] == ["oslo/node.key: new key"]
        assert "partition-id=2 num-partitions=3" in (tmp_path / "nodes/oslo/start.sh").read_text()

    def test_a_nodes_data_reaches_flower_through_shell_and_parser(self, hosts: Hosts, tmp_path: Path) -> None:
        from flwr.common.config import parse_config_args

        from clients.own_data import OwnData

        init(hosts, tmp_path / "out dir")
        script = tmp_path / "out dir/nodes/berlin/start.sh"
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/flower-supernode").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / "bin/flower-supernode").chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "FGL_VENV": ""}
        done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, check=True)
        words = done.stdout.splitlines()
        told = parse_config_args([words[words.index("--node-config") + 1]])
        assert told["partition-id"] == 0
        assert told["policy"] == str(script.parent / "policy.toml")
        assert OwnData.of(told) == OwnData("folder:/data/x rays", labels="k9=dog, feline=cat")
        assert "--insecure" not in words

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ('address = "127.0.0.1"', "server.address"),
            ("port = 18123", "extra"),
            ("[nodes.paris]", "lower-case"),
        ],
    )
    def test_what_is_wrong_with_the_file_is_said(self, tmp_path: Path, change: str, sentence: str) -> None:
        other = {"server.address": "", "extra": "prot = 18123", "lower-case": '[nodes."Pa ris"]'}[sentence]
        (tmp_path / "hosts.toml").write_text(HOSTS.replace(change, other))
        with pytest.raises(ConfigError, match={"extra": r"server\.prot"}.get(sentence, sentence)):
            Hosts.read(tmp_path / "hosts.toml")


class TestCheck:
    def test_a_node_is_told_what_is_wrong(self, hosts: Hosts, tmp_path: Path) -> None:
        init(hosts, tmp_path)
        node = tmp_path / "nodes/berlin"
        (node / "policy.toml").write_text("levles = []\n")
        (node / "node.key").chmod(0o644)
        config = RunConfig.parse({"dataset": "nodes", "classes": "cat, dog"})
        found = {one.what: one for one in check(node, config)}
        assert not any(found[what].well for what in ("server", "key", "policy", "data"))
        assert "nobody answers at 127.0.0.1:18123" in found["server"].text
        assert "levles" in found["policy"].text
        assert "there is no such folder" in found["data"].text
        assert found["port"].well

    def test_any_other_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no start\.sh"):
            check(tmp_path)

    def test_the_server_lists_its_addresses_and_nodes(self, hosts: Hosts, tmp_path: Path) -> None:
        init(hosts, tmp_path)
        found = {one.what: one for one in check(tmp_path / "server")}
        assert found["certificate"].well
        assert "2 keys to register: berlin, paris" in found["nodes"].text


def test_the_staged_app_holds_its_revision_and_every_key(tmp_path: Path) -> None:
    import tomllib

    stage(tmp_path)
    told = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert told["config"] == RunConfig().to_flat()
    assert (tmp_path / "fgl_flower" / "_revision.json").is_file()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 10 * 2**20, "Flower's limit of a bundle"


def test_a_node_config_names_only_what_is_told() -> None:
    hosts = Hosts.model_validate({"server": {"address": "a"}, "nodes": {"b": {"domain": "photo"}}})
    assert node_config(0, 1, hosts.nodes["b"]) == 'partition-id=0 num-partitions=1 domain="photo"'


class TestStatus:
    def test_of_a_run_that_goes_on(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = RunFolder.create(RunConfig(runs_dir=str(tmp_path), name="one"))
        folder.progress("synthesis", 0, 200)
        told = {"phase": "synthesis", "done": 50, "total": 200, "since": time.time() - 10, "clients": {}}
        told["clients"] = {"asked": "query.prompts", "round": 0, "answered": 2, "of": 3, "names": ["0", "2"]}
        write_json(folder.path / "progress.json", told)
        assert fgl(monkeypatch, "status", folder.path) == 0
        said = capsys.readouterr().out
        assert "one: running" in said
        assert re.search(r"synthesis: 50 of 200, about 3[0-9]\.[0-9] s left", said)  # the command itself takes a moment
        assert "round 0, clients asked for prompts: 2 of 3 answered (0, 2)" in said

    def test_of_a_run_that_was_killed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = RunFolder.create(RunConfig(runs_dir=str(tmp_path), name="one"))
        write_json(folder.path / "status.json", {"state": "running", **process.identity(), "started": 1.0})
        assert fgl(monkeypatch, "status", folder.path) == 0
        assert "--resume" in capsys.readouterr().out


class TestNode:
    def test_preview_shows_what_would_leave_and_log_what_did(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "run.toml").write_text('private-images = 60\nclients = 2\npartition = "iid"\n')
        (tmp_path / "policy.toml").write_text('levels = ["class"]\notherwise = "class"\nmin-images = 4\n')
        config = f'partition-id=1 policy="{tmp_path / "policy.toml"}"'
        assert fgl(monkeypatch, "node", "preview", tmp_path / "run.toml", "--node-config", config) == 0
        said = capsys.readouterr().out
        assert "circle" in said
        assert "the owner's rules allow class" in said
        (tmp_path / "sent.jsonl").write_text(
            '{"time": "2026-11-26T00:00:00Z", "run": 7, "asked": "query.prompts", "round": 0, "bytes": 2048, '
            '"sha256": "00ff", "payload": {"level": "class"}}\n'
        )
        assert fgl(monkeypatch, "node", "log", tmp_path / "sent.jsonl", "--texts") == 0
        said = capsys.readouterr().out
        assert "query.prompts" in said
        assert "1 replies, 2.05 kB (2,048 bytes) in all" in said


def test_a_phase_whose_end_fell_between_two_looks_is_shown_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.deploy import running

    looks = iter([("synthesis", 0, 50), ("server-training", 1, 2), ("rounds", 1, 5), ("fine-tuning", 1, 2)])

    def folder() -> Path:
        phase, done, total = next(looks)
        (tmp_path / "progress.json").write_text(json.dumps({"phase": phase, "done": done, "total": total}))
        (tmp_path / "status.json").write_text('{"state": "queued"}')
        return tmp_path

    answers = iter(["running", "running", "running", "finished:completed"])
    monkeypatch.setattr(running, "status_of", lambda *where: next(answers))
    monkeypatch.setattr(running.time, "sleep", lambda seconds: None)
    told: list[tuple[str, int, int]] = []
    assert running.wait(1, tmp_path, "", folder, lambda *now: told.append(now)) == "finished:completed"
    assert told == [
        ("synthesis", 0, 50),
        ("synthesis", 50, 50),
        ("server-training", 1, 2),
        ("server-training", 2, 2),
        ("rounds", 1, 5),
        ("fine-tuning", 1, 2),
    ]
