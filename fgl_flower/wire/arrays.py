"""A model's weights as Flower's `ArrayRecord` and back.

BatchNorm's running statistics travel as first and second moments. A strategy that takes weighted means (FedAvg and its
kin) so pools them exactly: the mean of clients' variances would leave out how far apart the clients' means are, which
under skew is most of it. Its integer counters (``num_batches_tracked``) stay at home: no layer here reads them, and a
mean would turn them into fractions of another dtype.

What a `Classifier` declares fixed, a frozen backbone, is equal everywhere and stays at home, too.
"""

from collections.abc import Mapping

import torch
from flwr.app import ArrayRecord
from torch import nn

from fgl_flower.wire.npy import array_of, values

_MEAN, _VARIANCE = "running_mean", "running_var"  # torch's names of the statistics


def to_arrays(model: nn.Module) -> ArrayRecord:
    """Return the model's floating-point parameters and buffers that are not fixed, in the order of its state dict.

    An entry ``*.running_var`` holds the second moment, variance + mean ** 2.
    """
    state = _travels(model)
    for name, means in _statistics(state).items():
        state[name] = state[name] + means**2
    return ArrayRecord(
        {
            # C order whatever the memory format (channels last, transposed): one array has one serialisation.
            name: array_of(tensor.detach().cpu().numpy())
            for name, tensor in state.items()
        }
    )


def load_arrays(model: nn.Module, arrays: ArrayRecord) -> None:
    """Copy `arrays` into the model.

    Raises
    ------
    ValueError
        If names or shapes are not the model's.
    """
    own = _travels(model)
    if set(arrays) != set(own):
        raise ValueError(f"the arrays are not this model's: {sorted(set(arrays) ^ set(own))[:3]} differ")
    state = {}
    for name, array in arrays.items():
        state[name] = torch.from_numpy(values(array).copy())
        if state[name].shape != own[name].shape:
            raise ValueError(f"array {name!r} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}")
    for name, means in _statistics(state).items():
        state[name] = (state[name] - means**2).clamp(min=0)  # rounding may carry a tiny one below 0
    model.load_state_dict(state, strict=False)


def _travels(model: nn.Module) -> dict[str, torch.Tensor]:
    fixed: frozenset[str] = getattr(model, "fixed", frozenset())
    return {name: t for name, t in model.state_dict().items() if t.is_floating_point() and name not in fixed}


def _statistics(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the running means by the names of the variances that belong to them."""
    prefixes = [name.removesuffix(_VARIANCE) for name in state if name.endswith(_VARIANCE)]
    return {prefix + _VARIANCE: state[prefix + _MEAN] for prefix in prefixes}
