"""Every key of a configuration as a table that people read."""

import json
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from fgl_flower.config.part import kebab
from fgl_flower.config.run_config import RunConfig
from fgl_flower.extension import ExtensionPoint


def describe_keys() -> list[tuple[str, str, str, str, str]]:
    """Return (key, type, default, range, meaning) of every key, in the order of the file."""
    return [
        (kebab(name), *_type_and_range(field), field.description or "")
        for name, field in RunConfig.model_fields.items()
    ]


def _type_and_range(field: FieldInfo) -> tuple[str, str, str]:
    default = json.dumps(field.default)
    if point := next((m for m in field.metadata if isinstance(m, ExtensionPoint)), None):
        return "string", default, point.choices
    if get_origin(field.annotation) is Literal:
        return "string", default, ", ".join(map(str, get_args(field.annotation)))
    kinds: dict[Any, str] = {str: "string", int: "whole number", float: "number", bool: "true or false"}
    kind = kinds[field.annotation]
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(m, k)}" for m in field.metadata for k, sign in signs.items() if hasattr(m, k)]
    return kind, default, " and ".join(bounds)
