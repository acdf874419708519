"""accelerate, which places a loop on its device and does autocast and loss scaling."""

import os

from accelerate import Accelerator
from accelerate.state import AcceleratorState

from fgl_flower.device import resolve_device
from fgl_flower.errors import ConfigError

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
_current: dict[tuple[str, str], Accelerator] = {}


def accelerator_for(device: str = "auto", precision: str = "float32") -> Accelerator:
    """Return accelerate's handle for this device and precision.

    The handle is kept: a federation trains thousands of times a process. accelerate holds its state in the process and
    refuses a second setting, so a change of device or precision starts it anew.

    Parameters
    ----------
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    precision : {"float32", "bfloat16", "float16"}
        Precision of forward and backward passes; weights stay float32.

    Raises
    ------
    ConfigError
        If this machine has no such device, or the device cannot do this precision.
    """
    target = resolve_device(device)
    key = (str(target), precision)
    if key not in _current:
        if target.type == "cpu" and precision == "float16":
            raise ConfigError("precision = 'float16' needs a GPU: use 'bfloat16' or 'float32' on the CPU")
        _current.clear()
        AcceleratorState._reset_state(reset_partial_state=True)
        before = os.environ.get("ACCELERATE_TORCH_DEVICE")
        os.environ["ACCELERATE_TORCH_DEVICE"] = str(target)
        try:
            _current[key] = Accelerator(mixed_precision=_MIXED[precision], cpu=target.type == "cpu")
        finally:
            os.environ.pop("ACCELERATE_TORCH_DEVICE")
            if before is not None:
                os.environ["ACCELERATE_TORCH_DEVICE"] = before
    return _current[key]
