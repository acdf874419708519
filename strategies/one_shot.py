"""The one-shot model: trained on the synthetic images from the run's initialisation, once for all runs that ask for it.

Runs that differ in their later rounds alone (rates, strategies, skews whose prompts are the same) begin with the same
model; training it anew would be most of their time. It is kept beside the synthetic store, under a hash of all that
it depends on.
"""

import hashlib
import json
import platform
from pathlib import Path

import kornia
import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fgl_flower import learning
from fgl_flower.device import resolve_device
from fgl_flower.errors import RunError, reason
from fgl_flower.files import write_bytes
from fgl_flower.learning.images import Images
from fgl_flower.synthesis.store import SyntheticStore
from strategies.server import Server

_ROWS = 64  # images hashed at a time


def one_shot_model(server: Server, images: Images, store: SyntheticStore) -> ArrayRecord:
    """Return the global model trained on these images from `server.initial`, or the same one trained earlier."""
    config = server.config
    folder = store.path.with_name(f"{store.path.name}-models")
    file = folder / f"{_key(server, images)}.safetensors"
    try:
        kept = load(file.read_bytes())
        arrays = ArrayRecord({name: Array(kept[name]) for name in server.initial})
    except (OSError, KeyError, SafetensorError):  # none yet, or damaged: train
        arrays = server.train(server.initial, images, config.server_epochs, config.server_lr, "server-training")
        if server.diverged:
            return arrays  # not worth keeping, and whoever asks for it next must hear of it, too
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(file, save({name: np.ascontiguousarray(array.numpy()) for name, array in arrays.items()}))
        except (OSError, RunError) as error:  # kept for later runs alone: this one goes on with what it trained
            server.folder.warn(
                f"the one-shot model is not kept for later runs, {folder} cannot be written: {reason(error)}"
            )
        return arrays
    server.folder.log({"event": "one-shot-model", "reused": file.stem})
    return arrays


def _learning() -> str:
    """Return a hash of the code that trains, and of the library whose version moves what it does to images."""
    digest = hashlib.sha256(kornia.__version__.encode())
    for file in sorted(Path(learning.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _key(server: Server, images: Images) -> str:
    """Return a hash of everything that the trained weights depend on, the arithmetic of this machine included."""
    config = server.config
    settings = {
        "model": config.model,
        "norm": config.norm,
        "revision": server.revision,
        "train": config.train,
        "lora-rank": config.lora_rank,
        "epochs": config.server_epochs,
        "lr": config.server_lr,
        "momentum": config.momentum,
        "weight-decay": config.server_weight_decay,
        "batch-size": config.batch_size,
        "seed": config.seed,
        "precision": config.precision,
        "device": str(resolve_device(config.device)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "learning": _learning(),
        "processor": platform.machine(),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    validation = server.choosing or Images.empty(config.image_size)
    for block in (images.pixels, images.labels, validation.pixels, validation.labels):
        for rows in block.split(_ROWS):  # large blocks lie in a mapped file: never all of one in memory
            digest.update(rows.contiguous().numpy().tobytes())
    for name, array in server.initial.items():
        digest.update(name.encode() + array.data)
    return digest.hexdigest()[:32]
