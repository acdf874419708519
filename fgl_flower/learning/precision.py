"""Mixed precision of a training loop: weights in float32, forward and backward passes in what the device does best."""

from contextlib import AbstractContextManager

import torch

from fgl_flower.errors import ConfigError

__all__ = ["Precision"]


class Precision:
    """Autocast and loss scaling of one loop.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        Of the passes; weights stay float32.
    device : torch.device

    Raises
    ------
    ConfigError
        If the device cannot do this precision.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        if device.type == "cpu" and precision == "float16":
            raise ConfigError("precision = 'float16' needs a GPU: use 'bfloat16' or 'float32' on the CPU")
        self.dtype: torch.dtype = getattr(torch, precision)
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def step(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Descend the gradient of a loss; in float16 it is scaled, and a step whose gradients overflow is skipped."""
        self._scaler.scale(loss).backward()
        self._scaler.step(optimizer)
        self._scaler.update()
