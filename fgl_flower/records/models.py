"""The models that a run leaves: the global one, and where asked for that after some of the rounds."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fgl_flower.files import write_bytes

if TYPE_CHECKING:
    import torch  # reading a run must not cost the seconds that importing torch takes

__all__ = ["MODEL", "ROUND_MODELS", "model_bytes", "write_round_model"]

MODEL = "model.safetensors"
ROUND_MODELS = "models"


def model_bytes(state: "Mapping[str, torch.Tensor]") -> bytes:
    """Return a model's tensors in the safetensors format."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, metadata={"format": "pt"})


def write_round_model(run: Path, number: int, state: "Mapping[str, torch.Tensor]") -> None:
    """Write the global model after a round into the run's folder, as `models/round-NNNN.safetensors`."""
    (run / ROUND_MODELS).mkdir(exist_ok=True)
    write_bytes(run / ROUND_MODELS / f"round-{number:04}.safetensors", model_bytes(state))
