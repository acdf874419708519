"""One model from every engine: `python -m experiments.shows.same_bits [CASE ...]`.

Small runs of each method and prompt level, in process with two clients at a time and with one, and as Ray actors.
"""

import argparse
import tempfile
from typing import Any

import torch
from safetensors.torch import load_file

from experiments.ray_simulation import Engine
from experiments.runner import run_folder
from experiments.shows.lines import print_line
from fgl_flower.config import RunConfig

BASE = {
    "clients": 3,
    "private-images": 120,
    "validation-images": 40,
    "test-images": 40,
    "images-per-class": 6,
    "server-epochs": 2,
}
CASES: dict[str, dict[str, Any]] = {
    "class-style": {},
    "captions": {"prompt-level": "instance"},
    "embeddings": {"prompt-level": "embeddings"},
    "tokens": {"prompt-level": "tokens", "token-steps": 10},
    "auto": {"prompt-level": "auto"},
    "fgl, then fedyogi": {"wrapped": "fedyogi", "rounds": 2},
    "fedavg, a share of the clients": {"method": "fedavg", "rounds": 3, "fraction": 0.5, "clients": 4},
    "fedavg, dropout": {"method": "fedavg", "rounds": 3, "dropout": 0.3},
    "fedavg, clients choose": {"method": "fedavg", "rounds": 2, "selection": "clients"},
    "fedavg, batch norm": {"method": "fedavg", "rounds": 2, "norm": "batch"},
    "fedprox": {"method": "fedprox", "rounds": 2},
    "fedadam": {"method": "fedadam", "rounds": 2},
    "moon": {"method": "moon", "rounds": 3},
}
ENGINES: tuple[tuple[Engine, int], ...] = (("inline", 2), ("inline", 1), ("ray", 2))


def compared(name: str) -> dict[str, Any]:
    """Return whether the models of a case are equal to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.parse({**BASE, **CASES[name], "runs-dir": folder})
        models = [
            load_file(run_folder(config.model_copy(update={"client_workers": n}), engine=engine) / "model.safetensors")
            for engine, n in ENGINES
        ]
    equal = [all(torch.equal(models[0][key], model[key]) for key in models[0]) for model in models[1:]]
    return {"case": name, "one client at a time": equal[0], "Ray": equal[1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="default: all")
    for case in parser.parse_args().case or CASES:
        print_line(compared(case))
