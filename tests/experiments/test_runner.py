"""One configuration gives one result, whichever way its clients are run."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments.runner import run, run_folder
from fgl_flower.config import RunConfig
from fgl_flower.errors import DataError, RunError
from fgl_flower.records.reading import read_run

ROOT = Path(__file__).parents[2]
SMALL = {
    "method": "fedavg",
    "rounds": 2,
    "clients": 3,
    "beta": 0.1,
    "local-epochs": 1,
    "private-images": 240,
    "validation-images": 60,
    "test-images": 60,
    "model": "small-resnet",
}


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a `ray start` that is long gone leaves on a machine: its address."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a Unix socket's path has 107 characters at most
        Path(short, "ray").mkdir()
        Path(short, "ray", "ray_current_cluster").write_text("192.0.2.1:6379")
        monkeypatch.setenv("RAY_TMPDIR", short)
        yield


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("left_behind")
def test_ray_and_inline_give_the_same_model_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(200 * 2**20))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    seen: list[tuple[str, int, int]] = []
    config = RunConfig.parse({**SMALL, "runs-dir": str(tmp_path)})
    inline = read_run(run_folder(config, engine="inline", watch=lambda *event: seen.append(event)))
    alone = read_run(run_folder(config.model_copy(update={"client_workers": 1}), engine="inline"))
    ray = read_run(run_folder(config.model_copy(update={"client_workers": 3}), engine="ray"))  # more than cores here
    assert inline.result is not None
    assert ray.result is not None
    assert (inline.result.engine, ray.result.engine) == ("inline", "ray")
    assert ray.result.accuracy == inline.result.accuracy
    assert ray.result.bytes_up_per_client == pytest.approx(inline.result.bytes_up_per_client, rel=0.001)
    assert ("rounds", 2, 2) in seen
    models = [load_file(one.path / "model.safetensors") for one in (inline, alone, ray)]
    for name, tensor in models[0].items():
        assert all(torch.equal(tensor, model[name]) for model in models)


def test_processes_of_clients_import_nothing_that_each_of_them_would_wait_for() -> None:
    """torch's optimisers import its compiler, more than a second of work, when the first of them is made."""
    code = (
        "import sys, experiments.runner as runner\n"
        "runner.can_share = lambda _: False\n"
        "runner.serve = lambda *_, **__: print('torch._dynamo' in sys.modules, 'clients.training' in sys.modules)\n"
        "runner._serve_in_process(runner.RunConfig(method='fedavg', rounds=1, client_workers=2, device='cpu'), None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_a_simulation_that_breaks_says_why_and_leaves_no_thread_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "no-port")
    before = set(threading.enumerate())
    with pytest.raises(RunError, match=r"RAY_ADDRESS = 'no-port' broke down.*Invalid address format"):
        run(RunConfig.parse({**SMALL, "runs-dir": str(tmp_path)}), engine="ray")
    deadline = time.monotonic() + 20
    while (left := [t for t in set(threading.enumerate()) - before if not t.daemon]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_missing_data_is_found_before_the_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(RunConfig.parse({**SMALL, "dataset": "folder:/no/such", "runs-dir": str(tmp_path / "runs")}))
    assert not (tmp_path / "runs").exists()
