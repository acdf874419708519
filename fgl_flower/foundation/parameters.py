"""How large a checkpoint's models are, told from the headers of their safetensors files: no weight is read."""

import json
import math
import re
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

from fgl_flower.foundation.checkpoints import component_variants, index_of

__all__ = ["pipeline_parameters", "stored_parameters"]

_MOST_HEADER = 100_000_000  # bytes: the format's own limit
_VARIANT = re.compile(r"\.(?P<name>[a-z]\w*)(?:-\d+-of-\d+)?\.safetensors$")


def stored_parameters(files: Iterable[Path]) -> int | None:
    """Return the numbers that safetensors files hold; None if there is no file, or one that cannot be read."""
    total = None
    for file in files:
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if length > _MOST_HEADER:
                    return None
                text = stream.read(length)
            if len(text) < length:
                return None
            header = json.loads(text)
            shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None
        total = (total or 0) + sum(math.prod(shape) for shape in shapes)
    return total


def pipeline_parameters(folders: Sequence[Path]) -> dict[str, int]:
    """Return the parameters of each component of a pipeline that has weights in safetensors files.

    Parameters
    ----------
    folders : sequence of Path
        As `GeneratorCard.folders`: a component lies in the first that has it.
    """
    sizes = {}
    for name, entry in (item for folder in folders for item in index_of((folder,)).items()):
        folder = next((folder / name for folder in folders if (folder / name).is_dir()), None)
        if name == "safety_checker" or folder is None or not isinstance(entry, list) or entry[1:] == [None]:
            continue
        if count := stored_parameters(weight_files(folder)):
            sizes[name] = count
    return sizes


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model, of one variant where there are several."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.exists())
    if not (variants := component_variants(folder)):
        return [path for path in files if not _VARIANT.search(path.name)] or files
    wanted = "fp16" if "fp16" in variants else min(variants)
    return [path for path in files if (match := _VARIANT.search(path.name)) and match["name"] == wanted]
