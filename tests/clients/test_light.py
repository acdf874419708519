"""In a deployment every message is a new process: one that asks for names must not wait for torch to be imported."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "diffusers", "transformers", "flwr_datasets", "seaborn", "scipy", "sklearn", "matplotlib")
PROGRAM = """
import sys

from flwr.app import ConfigRecord, Message, RecordDict

from clients.client_app import app
from fgl_flower.config import RunConfig
from fgl_flower.simulation import InlineGrid

own = {"dataset": "nodes", "classes": "cat, dog"} if sys.argv[2] else {}
config = RunConfig(clients=3, private_images=30, partition="iid", prompt_level=sys.argv[1], **own)
grid = InlineGrid(app, 3, config.to_flat(), {0: {"data": sys.argv[2]}} if sys.argv[2] else {})
[node, *_] = grid.get_node_ids()
question = RecordDict({"config": ConfigRecord({"server-round": 0})})
[reply] = grid.send_and_receive([Message(question, node, "query.prompts")])
print("failed" if reply.has_error() else len(reply.content["payload"]["data"]))
print(*(name for name in sys.argv[3:] if name in sys.modules))
"""


def test_a_client_that_names_its_classes_imports_nothing_heavy() -> None:
    from fgl_flower.config import RunConfig
    from fgl_flower.data.partition import partition
    from fgl_flower.data.sources import load_source

    config = RunConfig(clients=3, private_images=30, partition="iid")
    partition(load_source(config).private, config)  # now in the cache, as on a node after its first message
    command = [sys.executable, "-c", PROGRAM, "class-style", "", *HEAVY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    size, imported = done.stdout.split("\n")[:2]
    assert int(size) > 50, done.stdout
    assert imported == "", f"imported: {imported}"


def test_a_node_that_names_the_classes_of_its_own_folder_does_not_even_import_datasets(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog", "dog")):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, 100, 200)).save(tmp_path / name / f"{i}.png")
    command = [sys.executable, "-c", PROGRAM, "class", f"folder:{tmp_path}", *HEAVY, "datasets", "pandas", "pyarrow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    size, imported = done.stdout.split("\n")[:2]
    assert int(size) > 50, done.stdout
    assert imported == "", f"imported: {imported}"
