"""The state of an object as JSON and arrays: what a strategy has learnt over the rounds, whoever wrote it.

Attributes of numbers, words, arrays, and lists and dicts of these are taken; anything else (functions, grids) is what
the object is made with again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

Arrays = dict[str, Array]


def take(thing: object) -> tuple[dict[str, Any], Arrays]:
    """Return the attributes of an object, and the arrays among them by the names that stand for them."""
    arrays: Arrays = {}
    values = {}
    for name, value in vars(thing).items():
        found: Arrays = {}
        try:
            values[name] = _pack(value, name, found)
        except TypeError:
            continue
        arrays |= found
    return values, arrays


def give(thing: object, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Set the attributes of an object to what `take` returned."""
    for name, value in values.items():
        setattr(thing, name, _unpack(value, arrays))


def _pack(value: Any, path: str, arrays: Arrays) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        arrays[path] = Array(value)
        return {"array": path}
    if isinstance(value, ArrayRecord):
        for name, array in value.items():
            arrays[f"{path}/{name}"] = array
        return {"record": path, "names": list(value)}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(one, f"{path}/{i}", arrays) for i, one in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        return {"dict": [[key, _pack(one, f"{path}/{key}", arrays)] for key, one in value.items()]}
    raise TypeError(f"{path} is a {type(value).__name__}")


def _unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]].numpy()
    if "record" in value:
        return ArrayRecord({name: arrays[f"{value['record']}/{name}"] for name in value["names"]})
    if "dict" in value:
        return {key: _unpack(one, arrays) for key, one in value["dict"]}
    kind = "list" if "list" in value else "tuple"
    items = [_unpack(one, arrays) for one in value[kind]]
    return items if kind == "list" else tuple(items)
