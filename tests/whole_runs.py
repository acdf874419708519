"""Small runs from a configuration to a finished folder, for tests of what they leave."""

import json
from pathlib import Path
from typing import Any

from clients.client_app import app as client_app
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.records.run_folder import RunFolder
from fgl_flower.report.observers import observers_of
from fgl_flower.simulation import InlineGrid
from strategies.server_app import serve


def small(tmp_path: Path, method: str, generator: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "method": method,
        "rounds": 0 if method in {"fgl", "mixed", *METHODS_WITHOUT_CLIENTS} else 2,
        "runs_dir": str(tmp_path),
        "private_images": 120,
        "validation_images": 60,
        "test_images": 60,
        "clients": 3,
        "local_epochs": 1,
        "server_epochs": 1,
        "images_per_class": 6,
        "generator": generator,
        "device": "cpu",
    }
    return RunConfig(**{**values, **changes})


def served(config: RunConfig) -> Path:
    with RunFolder.create(config, observers=observers_of(config)) as folder:
        serve(InlineGrid(client_app, config.clients, config.to_flat()), config, folder)
    warnings = json.loads((folder.path / "result.json").read_text())["warnings"]
    assert not [warning for warning in warnings if warning.startswith("report.html")]
    return folder.path
