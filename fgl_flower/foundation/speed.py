"""How a generator draws faster: by diffusers' attention backends, regional compilation, and torchao's 8-bit weights."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fgl_flower.errors import reason
from fgl_flower.extension_points import GENERATOR
from fgl_flower.foundation.checkpoints import index_of
from fgl_flower.foundation.layers import denoiser_layers

if TYPE_CHECKING:
    import torch

    from fgl_flower.foundation.generator import GeneratorCard

_ANYWHERE = ("native", "_native_math")  # backends that need no NVIDIA GPU
_WEIGHTS = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}  # of torchao.quantization


@dataclass(frozen=True)
class Speed:
    """What is done to draw faster; all of it moves pixels, and is part of an image's key.

    Attributes
    ----------
    attention : str
        diffusers' attention backend; empty: the one that torch prefers.
    quantisation : str
        "int8" or "float8": the denoiser's linear layers keep weights of 8 bits, which is lossy. Empty: none.
    """

    attention: str = ""
    quantisation: str = ""

    def apply(self, pipeline: Any) -> None:
        """Change the denoiser of a loaded pipeline.

        Raises
        ------
        RuntimeError, ValueError
            If diffusers refuses the backend.
        """
        denoiser = denoiser_of(pipeline)
        if self.quantisation:
            from torchao import quantization

            quantization.quantize_(denoiser, getattr(quantization, _WEIGHTS[self.quantisation])())
        if self.attention:
            denoiser.set_attention_backend(self.attention)
            # The call above also changes the backend of every model of the process that was given none.
            pipeline.vae.set_attention_backend("native")


NO_SPEED = Speed()


def denoiser_of(pipeline: Any) -> Any:
    """Return the model that is called at every step."""
    transformer = getattr(pipeline, "transformer", None)
    return pipeline.unet if transformer is None else transformer


def speed_fault(card: "GeneratorCard", speed: Speed, device: "torch.device") -> str:
    """Return why a generator cannot be made faster so, and what to change; empty if it can. Nothing is loaded."""
    for key, value in {"attention-backend": speed.attention, "quantisation": speed.quantisation}.items():
        if value and GENERATOR.refers(card.id):
            return f"{key} = {value!r} has no effect on a generator of your own: leave it empty"
    if speed.quantisation and find_spec("torchao") is None:
        return f"quantisation = {speed.quantisation!r} needs an extra: pip install 'fgl-flower[quantisation]'"
    return _attention_fault(card, speed.attention, device) if speed.attention else ""


def _attention_fault(card: "GeneratorCard", backend: str, device: "torch.device") -> str:
    from diffusers.models.attention_dispatch import AttentionBackendName
    from diffusers.utils import logging

    start = f"attention-backend = {backend!r}"
    known = [one.value for one in AttentionBackendName]
    if backend not in known:
        usable = ", ".join(name for name in known if not name.endswith("_hub"))
        return f"{start} is none of the installed diffusers': use one of {usable}, or leave it empty"
    if backend.endswith("_hub"):
        return f"{start} runs code that is downloaded from the hub: name one that is installed, or leave it empty"
    index = index_of(card.folders)
    name = next((name for name in ("transformer", "unet") if isinstance(index.get(name), list)), "")
    layers = denoiser_layers(card, name, index)
    if layers is None:
        return ""  # loading will tell
    if not any(hasattr(getattr(layer, "processor", None), "_attention_backend") for layer in layers.modules()):
        return f"{start} has no effect on the generator {card.id!r}, a {type(layers).__name__}: leave it empty"
    if device.type != "cuda" and backend not in _ANYWHERE:
        return f"{start} needs an NVIDIA GPU, and the device is {device}: leave it empty"
    logging.set_verbosity_error()
    try:
        layers.set_attention_backend(backend)
    except (RuntimeError, ValueError) as error:
        return f"{start} cannot be used here ({reason(error)}): leave it empty"
    layers.set_attention_backend("native")  # for the process, see `Speed.apply`
    return ""


def repeats_blocks(denoiser: Any) -> bool:
    """Return whether diffusers knows the blocks that a denoiser repeats, and compiles one for all."""
    return bool(getattr(denoiser, "_repeated_blocks", None))


def compile_repeated_blocks(denoiser: Any) -> None:
    """Compile a denoiser's blocks by diffusers' own call; once is enough."""
    if all(module._compiled_call_impl is None for module in denoiser.modules()):
        denoiser.compile_repeated_blocks(fullgraph=True, dynamic=False)
