"""Which device and which precision a setting means on this machine. torch is imported only when asked."""

from typing import TYPE_CHECKING

from fgl_flower.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(device: str = "auto") -> "torch.device":
    """Return the torch device of a setting; 'auto' takes CUDA, then MPS, then the CPU.

    Raises
    ------
    ConfigError
        If there is no such device, or not on this machine.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        result = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device = {device!r} is none: use auto, cpu, mps, cuda or cuda:N") from None
    missing = (result.type == "cuda" and (result.index or 0) >= torch.cuda.device_count()) or (
        result.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise ConfigError(f"device = {device!r} is not on this machine: set device = 'auto'")
    return result


def resolve_precision(precision: str, device: "torch.device") -> str:
    """Return the precision of a setting; 'auto' takes bfloat16 where the hardware multiplies it, else float32.

    On a CPU that means AVX512-BF16 or AMX: elsewhere bfloat16 is emulated and slower than float32.

    Raises
    ------
    ConfigError
        If there is no such precision.
    """
    import torch

    if precision not in {"auto", "float32", "bfloat16", "float16"}:
        raise ConfigError(f"precision = {precision!r} is none: use auto, float32, bfloat16 or float16")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bfloat16"
    return "float32"
