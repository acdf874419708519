"""Checkpoints of one file, as model sites and other programs keep them: all weights, no configuration.

diffusers reads them (`from_single_file`) with the configuration of a pipeline of the same family: a folder on this
machine, or the repository that diffusers takes for the file's family, whose few small files the hub's cache may hold.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgl_flower.errors import ModelError, reason
from fgl_flower.foundation.checkpoints import component_config, component_variants, index_of

if TYPE_CHECKING:
    import torch

    from fgl_flower.foundation.generator import GeneratorCard

_DENOISERS = ("unet", "transformer")
_CONFIGURATION = ["*.json", "**/*.json", "*.txt", "**/*.txt", "**/*.model"]


def configuration_of(file: Path, config: str) -> Path:
    """Return the folder that holds the configuration of a single-file checkpoint.

    Parameters
    ----------
    file : Path
        A .safetensors file.
    config : str
        A pipeline's folder or hub id; empty: the one that diffusers takes for files of this family.

    Raises
    ------
    ModelError
        If it is not there, or the file is none of safetensors.
    """
    if config and (folder := Path(config).expanduser()).is_dir():
        return folder.resolve()
    wanted = config or _usual(file)
    from huggingface_hub import snapshot_download

    for local in (True, False):
        try:
            return Path(snapshot_download(wanted, allow_patterns=_CONFIGURATION, local_files_only=local))
        except Exception as error:  # the hub client raises a dozen unrelated types
            last = error
    given = "generator-config names" if config else "diffusers reads files of this family with"
    raise ModelError(
        f"generator = {str(file)!r} is a single file, {given} the configuration of {wanted!r}, and that is neither "
        "cached on this machine nor to be had from the hub: set generator-config to a folder with the model_index.json "
        "of such a pipeline (its weights are not needed), or fetch it where there is a network: "
        f"hf download {wanted} --include '*.json' '*.txt'"
    ) from last


def _usual(file: Path) -> str:
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    return str(fetch_diffusers_config(_shapes(file))["pretrained_model_name_or_path"])


def _shapes(file: Path) -> "dict[str, torch.Tensor]":
    """Return a file's tensors without their numbers."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"generator = {str(file)!r} is no file of safetensors ({reason(error)})") from None
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def check_single_file(card: "GeneratorCard") -> None:
    """Refuse a single-file checkpoint whose weights do not fit its configuration; no weight is read.

    Raises
    ------
    ModelError
        With the component that does not fit or is in neither place.
    """
    if card.file is not None and (fault := _fault(card)):
        raise ModelError(f"generator = {str(card.file)!r}: {fault}; set generator-config to a pipeline of its family")


@lru_cache(maxsize=4)
def _fault(card: "GeneratorCard") -> str:
    assert card.file is not None
    tensors = _shapes(card.file)
    for name, kind in _models(card):
        try:
            there = _in_file(card, name, kind, tensors)
        except Exception as error:  # converters fail in any way on files of other families
            return f"it holds no {name!r} of the configuration in {card.folder} ({reason(error)[:200]})"
        if not there and (name in _DENOISERS or not _has_weights(card.folder, name)):
            return f"neither the file nor {card.folder} holds its {name!r}"
    return ""


def _in_file(card: "GeneratorCard", name: str, kind: Any, tensors: "dict[str, torch.Tensor]") -> bool:
    """Return whether a file holds a component; diffusers converts its tensors without their numbers to see."""
    from diffusers.loaders.single_file import SingleFileComponentError

    if not hasattr(kind, "from_single_file"):
        return _holds_text_encoder(kind, tensors)
    folder = str(card.folder)
    try:
        kind.from_single_file(dict(tensors), config=folder, subfolder=name, local_files_only=True, device="meta")
    except SingleFileComponentError:
        return False
    return True


def _holds_text_encoder(kind: Any, tensors: "dict[str, torch.Tensor]") -> bool:
    from diffusers.loaders.single_file_utils import is_clip_model_in_single_file, is_t5_in_single_file

    return bool(is_clip_model_in_single_file(kind, tensors) or is_t5_in_single_file(tensors))


def _models(card: "GeneratorCard") -> list[tuple[str, Any]]:
    """Return name and class of each component with weights."""
    import diffusers
    import transformers

    result = []
    for name, entry in index_of(card.folders).items():
        if isinstance(entry, list) and entry[1] is not None and name != "safety_checker":
            kind = getattr(diffusers, entry[1], None) or getattr(transformers, entry[1], None)
            if kind is not None and component_config(card.folders, name) and hasattr(kind, "from_pretrained"):
                if entry[1].endswith(("Tokenizer", "Processor", "Scheduler")):
                    continue
                result.append((name, kind))
    return result


def _has_weights(folder: Path, name: str) -> bool:
    """Return whether a component's weights lie beside its configuration."""
    place = folder / name
    files = {path.suffix for path in place.iterdir()} if place.is_dir() else set()
    return bool(files & {".safetensors", ".bin"}) and not component_variants(place)


def load_single_file(card: "GeneratorCard", dtype: "torch.dtype", *, safety_checker: bool) -> Any:
    """Return the pipeline of a single-file checkpoint; what the file lacks comes from the configuration's folder."""
    import diffusers

    assert card.file is not None
    tensors = _shapes(card.file)
    parts = {
        name: kind.from_pretrained(card.folder / name, torch_dtype=dtype, local_files_only=True)
        for name, kind in _models(card)
        if _has_weights(card.folder, name) and not _in_file(card, name, kind, tensors)
    }
    if safety_checker:
        from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker

        place = card.folder / "safety_checker"
        parts["safety_checker"] = StableDiffusionSafetyChecker.from_pretrained(place, torch_dtype=dtype)
    pipeline = getattr(diffusers, card.pipeline)
    return pipeline.from_single_file(
        str(card.file), config=str(card.folder), local_files_only=True, torch_dtype=dtype, **parts
    )
