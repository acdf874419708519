"""What lies in a checkpoint's folder, told from names and configurations; no weight is read."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from fgl_flower.errors import ModelError

_WEIGHTS = re.compile(r"(?:diffusion_pytorch_model|pytorch_model|model)(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
_VARIANT = re.compile(r"(?:diffusion_pytorch_model|pytorch_model|model)[\w.-]*\.([a-z]\w*)[\w-]*\.(?:safetensors|bin)")
_SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
_CONVERT = (
    "convert it once with diffusers (from_single_file of its pipeline's class, then save_pretrained) "
    "and name that folder"
)
_WITHOUT_WEIGHTS = re.compile("Scheduler|Tokenizer|Processor|FeatureExtractor")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty if there is no such file.

    Raises
    ------
    ModelError
        If the file holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not valid JSON: it holds no object")
    return value


def component_config(folders: Sequence[Path], component: str, file: str = "config.json") -> dict[str, Any]:
    """Return the configuration of a component from the first folder that has it; empty if none has."""
    for folder in folders:
        if config := read_json(folder / component / file):
            return config
    return {}


def index_of(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the pipeline's index, model_index.json, from the first folder that has it; empty if none has."""
    return next((index for folder in folders if (index := read_json(folder / "model_index.json"))), {})


def refuse_other_paths(model_id: str) -> None:
    """Refuse a path that is no folder: a single file, or nothing at all.

    Raises
    ------
    ModelError
        With what to do instead.
    """
    path = Path(model_id).expanduser()
    single = path.suffix.lower() in _SINGLE_FILES
    if path.is_file():
        raise ModelError(
            f"generator = {model_id!r} is a file, and of files only .safetensors are loaded (a pickle may run code): "
            f"{_CONVERT}"
        )
    if single or path.is_absolute() or model_id.startswith(("./", "../", "~")) or model_id.count("/") > 1:
        raise ModelError(f"generator = {model_id!r}: there is no such folder, and a hub id has the form owner/name")


def not_a_pipeline(folder: Path) -> str:
    """Return what a folder without model_index.json is instead, and what to do about it."""
    names = sorted(path.name for path in folder.iterdir())
    if "pytorch_lora_weights.safetensors" in names or "adapter_config.json" in names:
        return "it holds a LoRA; name its base as the generator, and this folder as generator-lora"
    if any(name.startswith("learned_embeds.") for name in names):
        return "it holds a learned word (textual inversion), no generator; name the pipeline that it was learned for"
    if "modular_model_index.json" in names:
        return "it holds a modular pipeline; name a checkpoint with a model_index.json"
    if "config.json" in names or "scheduler_config.json" in names:
        return "it holds one model, perhaps a component; name the folder above, with the model_index.json"
    if safe := [name for name in names if name.endswith(".safetensors")]:
        return f"it holds a single-file checkpoint; name the file, {folder / safe[0]}"
    if single := [name for name in names if name.lower().endswith(_SINGLE_FILES)]:
        return f"it holds a single-file checkpoint, {single[0]}; {_CONVERT}"
    return f"{folder} holds no model_index.json"


def variant_of(folders: Sequence[Path]) -> str:
    """Return the variant, such as "fp16", to load where some component has no plain weight file; empty: none is needed.

    Raises
    ------
    ModelError
        If components without plain files have no variant in common.
    """
    common: set[str] = set()
    for name, folder in _components(folders):
        if found := component_variants(folder):
            if common and not common & found:
                raise ModelError(f"its {name!r} has weights only as the variant {', '.join(sorted(found))}, others not")
            common = common & found or found
    return min(common, key=lambda variant: (variant != "fp16", variant)) if common else ""


def component_variants(folder: Path) -> set[str]:
    """Return the variants of a component's weights; none where there are plain files, which win."""
    files = {path.name for path in folder.iterdir() if path.exists()}
    return set() if any(_WEIGHTS.fullmatch(file) for file in files) else _variants(files)


def _components(folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield name and folder of each component that the index lists and that is there."""
    for name, entry in index_of(folders).items():
        if isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
            place = next((folder / name for folder in folders if (folder / name).is_dir()), None)
            if place is not None:
                yield name, place


def _variants(files: set[str]) -> set[str]:
    found = {match[1] for file in files if (match := _VARIANT.fullmatch(file))}
    return {variant for variant in found if "-of-" not in variant}


def missing_part(folders: Sequence[Path]) -> str:
    """Return what a checkpoint lacks of what its index lists; empty if it is complete.

    Parameters
    ----------
    folders : sequence of Path
        The checkpoint's, and that of the checkpoint that it builds on; a component lies in the first that has it.
    """
    for name, entry in index_of(folders).items():
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None or name == "safety_checker":
            continue
        folder = next((folder / name for folder in folders if (folder / name).is_dir()), None)
        if folder is None:
            return f"it has no folder {name!r}, which its model_index.json lists"
        if why := _lacks(folder, str(entry[1])):
            return f"its {name!r} {why}"
    return ""


def safety_checker_of(folders: Sequence[Path]) -> Literal["present", "absent", "none"]:
    """Return whether a checkpoint holds a safety checker, lists one whose weights are not there, or lists none."""
    entry = index_of(folders).get("safety_checker")
    if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
        return "none"
    for folder in folders:
        if (folder / "safety_checker").is_dir() and not _lacks(folder / "safety_checker", str(entry[1])):
            return "present" if (folder / "feature_extractor").is_dir() else "absent"
    return "absent"


def _lacks(folder: Path, class_name: str) -> str:
    names = {path.name for path in folder.iterdir() if path.exists()}  # a link into a cache may lead nowhere
    if "Scheduler" in class_name:
        return "" if "scheduler_config.json" in names else "has no scheduler_config.json"
    if _WITHOUT_WEIGHTS.search(class_name):
        return "" if names else "is empty"
    if "config.json" not in names:
        return "has no config.json"
    parts: set[str] = set()
    for index in sorted(names):
        if index.endswith(".index.json") and _WEIGHTS.fullmatch(index.removesuffix(".index.json")):
            shards = set(read_json(folder / index).get("weight_map", {}).values())
            if shards and shards <= names:
                return ""
            parts |= shards
    if parts:
        return f"lacks weight files: {', '.join(sorted(parts - names))}"
    if any(_WEIGHTS.fullmatch(name) and "-of-" not in name for name in names):
        return ""
    return "" if _variants(names) else "has no weight file"
