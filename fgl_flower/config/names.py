"""Lists of names in a flat configuration: Flower's run config holds no lists, so a list travels as one string."""

import json
from pathlib import Path
from typing import Any

from fgl_flower.errors import ConfigError


def joined(value: Any) -> Any:
    """Return a list of names as one string, which `split` takes apart; of anything else the value itself."""
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return value
    if any("," in name or name.startswith("[") or name != name.strip() for name in value):
        return json.dumps(list(value), ensure_ascii=False)
    return ", ".join(value)


def split(text: str) -> tuple[str, ...]:
    """Return the names in "cat, dog" or, where a name holds a comma, in the JSON list '["cat, black", "dog"]'.

    Raises
    ------
    ValueError
        If it begins like a list and is none, or a name comes twice.
    """
    if text.lstrip().startswith("["):
        names = json.loads(text)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{text[:60]!r} is no list of names")
    else:
        names = [name.strip() for name in text.split(",") if name.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} comes twice")
    return tuple(names)


def read_names(path: Path) -> list[str]:
    """Return the lines of a text file, or the names of the folders in a folder, sorted.

    Raises
    ------
    ConfigError
        If there is nothing of the kind.
    """
    try:
        if path.is_dir():
            names = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
        else:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"classes-from = {str(path)!r} cannot be read: {error}") from None
    if not names:
        raise ConfigError(f"classes-from = {str(path)!r} holds no names: it needs a line or a folder a class")
    return names
