"""A model's weights as Flower's `ArrayRecord` and back.

Integer buffers (BatchNorm's ``num_batches_tracked``) stay at home: no layer here reads them, and a weighted mean would
turn them into fractions of another dtype.
"""

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import nn


def to_arrays(model: nn.Module) -> ArrayRecord:
    """Return the model's floating-point parameters and buffers, in the order of its state dict."""
    return ArrayRecord(
        {
            # C order whatever the memory format (channels last, transposed): one array has one serialisation.
            name: Array(np.ascontiguousarray(tensor.detach().cpu().numpy()).reshape(tensor.shape))
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point()
        }
    )


def load_arrays(model: nn.Module, arrays: ArrayRecord) -> None:
    """Copy `arrays` into the model.

    Raises
    ------
    ValueError
        If names or shapes are not the model's.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    if set(arrays) != set(own):
        raise ValueError(f"the arrays are not this model's: {sorted(set(arrays) ^ set(own))[:3]} differ")
    state = {}
    for name, array in arrays.items():
        state[name] = torch.from_numpy(array.numpy())
        if state[name].shape != own[name].shape:
            raise ValueError(f"array {name!r} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}")
    model.load_state_dict(state, strict=False)
