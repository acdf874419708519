"""LoRA weights on top of a generator (Hu et al., arXiv 2106.09685): found, held against its layers, fused into them.

Reading every format of such files, and fusing them, is the work of diffusers and `peft`.
"""

import contextlib
import inspect
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl_flower.errors import ModelError, reason
from fgl_flower.foundation.checkpoints import index_of
from fgl_flower.foundation.hub import hub_fault
from fgl_flower.foundation.layers import denoiser_layers

if TYPE_CHECKING:
    from fgl_flower.foundation.generator import GeneratorCard

FILE = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True)
class Lora:
    """LoRA weights.

    Attributes
    ----------
    place : str
        As configured.
    file : Path
        Where they lie on this machine.
    scale : float
        What they are multiplied by.
    """

    place: str
    file: Path
    scale: float


def find_lora(place: str, scale: float) -> Lora:
    """Return the LoRA weights of a path or a hub id; those of the hub are downloaded if they are not cached.

    Parameters
    ----------
    place : str
        A .safetensors file, a folder that holds one, a hub id with `FILE` in it, or owner/name/file.safetensors.
    scale : float

    Raises
    ------
    ModelError
        If there are none.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        named = sorted(path.glob("*.safetensors"))
        chosen = [file for file in named if file.name == FILE] or named
        if len(chosen) != 1:
            what = "holds no .safetensors file" if not chosen else "holds several .safetensors files"
            raise ModelError(f"generator-lora = {place!r} {what}: name the file that is to be used")
        return Lora(place, chosen[0].resolve(), scale)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ModelError(f"generator-lora = {place!r} is no .safetensors file (a pickle may run code): convert it")
        return Lora(place, path.resolve(), scale)
    owner, _, rest = place.partition("/")
    name, _, inside = rest.partition("/")
    if path.is_absolute() or owner in {"", ".", "..", "~"} or not name or (inside and path.suffix != ".safetensors"):
        raise ModelError(
            f"generator-lora = {place!r}: there is no such file or folder, and a hub id has the form owner/name"
        )
    return Lora(place, _download(place, f"{owner}/{name}", inside or FILE), scale)


def _download(place: str, repo: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with contextlib.suppress(OSError, ValueError):
        return Path(hf_hub_download(repo, file, local_files_only=True))
    try:
        return Path(hf_hub_download(repo, file))
    except RemoteEntryNotFoundError:
        raise ModelError(
            f"generator-lora = {place!r}: the hub has it, but no file {file} in it; name the file, "
            f"{repo}/NAME.safetensors"
        ) from None
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ModelError(hub_fault(error, "generator-lora", place)) from error


def check_lora(card: "GeneratorCard") -> None:
    """Refuse LoRA weights that a generator cannot take; its own weights are not read.

    Raises
    ------
    ModelError
        If its pipeline takes none, `peft` is missing, or the weights are of other layers than the generator's.
    """
    if card.lora and (fault := _fault(card)):
        raise ModelError(fault)


@lru_cache(maxsize=4)
def _fault(card: "GeneratorCard") -> str:
    import diffusers

    assert card.lora is not None
    start = f"generator-lora = {card.lora.place!r}"
    pipeline = getattr(diffusers, card.pipeline, None)
    if pipeline is None or not hasattr(pipeline, "load_lora_weights"):
        return f"{start} does not go with the generator {card.id!r}: a {card.pipeline} takes no LoRA; leave it empty"
    if find_spec("peft") is None:
        return f"{start} needs an extra: pip install 'fgl-flower[lora]'"
    index = index_of(card.folders)
    known = [name for name in pipeline._lora_loadable_modules if isinstance(index.get(name), list) and index[name][1]]
    denoiser = next((name for name in ("unet", "transformer") if name in known), "")
    layers = denoiser_layers(card, denoiser, index)
    try:
        weights = _state(pipeline, card.lora.file, layers.config if layers is not None else None)
    except Exception as error:  # diffusers' converters fail in any way on files of other kinds
        return f"{start} holds no LoRA that diffusers can read ({reason(error)})"
    fitting = {key for key in weights if key.partition(".")[0] in known}
    if not fitting:
        parts = ", ".join(sorted({key.partition(".")[0] for key in weights})[:3]) or "nothing"
        return f"{start} does not fit the generator {card.id!r}: it changes {parts} and not its {' or '.join(known)}"
    if layers is None:
        return ""
    own = {f"{denoiser}.{name}": parameter.shape for name, parameter in layers.named_parameters()}
    for key in sorted(fitting):
        if (match := re.fullmatch(r"(.+)\.lora_([AB])\.weight", key)) and key.startswith(f"{denoiser}."):
            layer, side = own.get(f"{match[1]}.weight"), int(match[2] == "A")
            if layer is None:
                return f"{start} does not fit the generator {card.id!r}, which has no layer {match[1]}"
            if weights[key].shape[side] != layer[side]:
                return (
                    f"{start} does not fit the generator {card.id!r}: its layer {match[1]} is of "
                    f"{layer[side]} {'inputs' if side else 'outputs'}, the LoRA's of {weights[key].shape[side]}"
                )
    return ""


def _state(pipeline: Any, file: Path, config: Any) -> dict[str, Any]:
    """Return the tensors of a LoRA by diffusers' and `peft`'s names, those of its layers' inputs as lora_A."""
    from diffusers.utils import convert_unet_state_dict_to_peft

    extra = {"unet_config": config} if "unet_config" in inspect.signature(pipeline.lora_state_dict).parameters else {}
    found = pipeline.lora_state_dict(str(file.parent), weight_name=file.name, local_files_only=True, **extra)
    return convert_unet_state_dict_to_peft(found[0] if isinstance(found, tuple) else found)


def fuse(pipeline: Any, lora: Lora) -> None:
    """Add LoRA weights to those of a loaded pipeline, for good."""
    pipeline.load_lora_weights(str(lora.file.parent), weight_name=lora.file.name, local_files_only=True)
    pipeline.fuse_lora(components=_changed(pipeline), lora_scale=lora.scale)
    pipeline.unload_lora_weights()


def _changed(pipeline: Any) -> list[str]:
    """Return the components that a LoRA was loaded into."""
    names = pipeline._lora_loadable_modules
    return [name for name in names if getattr(getattr(pipeline, name, None), "peft_config", None)]
