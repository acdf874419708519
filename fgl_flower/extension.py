"""Extension points: a choice in a configuration is a built-in name or ``module:object``, an object of the user's own.

Built-ins are registered as ``module:object``, too, so both come through the same door: `ExtensionPoint.load`. What an
object must be is checked when the configuration is built, and refused with a sentence that says what is missing. Every
extension point of the project stands in `fgl_flower.extension_points`; docs/extending.md explains each.
"""

import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from fgl_flower.errors import ConfigError

__all__ = ["STORED", "ExtensionPoint", "called_with", "is_reference", "with_members"]

STORED = "stored"  # pydantic's context for a configuration that has been valid when it was written

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

Check = Callable[[Any], str]
"""From a loaded object to what it lacks, "" if nothing."""


def is_reference(value: str) -> bool:
    """Return whether a value has the form ``module:object``."""
    return _REFERENCE.fullmatch(value) is not None


class ExtensionPoint:
    """One choice that users may extend. As metadata of a pydantic field it validates the field's value.

    Parameters
    ----------
    key : str
        The key in a configuration.
    builtins : mapping of str to str
        Built-in names and the ``module:object`` that each stands for.
    check : callable
        From an object to what it lacks, "" if nothing.
    others : str
        What else the key takes, e.g. "a hub id or path"; empty: nothing. Such values are not checked here.
    shown : str
        The choices as people read them, where the built-in names do not say it.
    """

    def __init__(self, key: str, builtins: Mapping[str, str], check: Check, others: str = "", shown: str = "") -> None:
        self.key = key
        self.builtins = dict(builtins)
        self.check = check
        self.others = others
        self.shown = shown

    def refers(self, value: str) -> bool:
        """Return whether a value is a ``module:object`` of the user's own and not, say, ``folder:PATH``."""
        return is_reference(value) and value.partition(":")[0] not in self.builtins

    def load(self, value: str) -> Any:
        """Return the object of a built-in name or ``module:object``.

        Raises
        ------
        ConfigError
            If there is none, or it lacks what the extension point asks for.
        """
        if value in self.builtins:
            return _import(self.builtins[value])
        if not self.refers(value):
            raise ConfigError(f"{self.key} = {value!r} is {self.complaint(value)}")
        try:
            loaded = _import(value)
        except ConfigError as error:
            near = difflib.get_close_matches(value.partition(":")[0], self.builtins, n=1) if self.others else []
            hint = f" (did you mean {near[0]}:...?)" if near else ""
            raise ConfigError(f"{self.key} = {value!r}: {error}{hint}") from error
        if fault := self.check(loaded):
            raise ConfigError(f"{self.key} = {value!r} cannot be used: {fault}")
        return loaded

    def complaint(self, value: str) -> str:
        """Return what to say of a value that is no choice."""
        near = difflib.get_close_matches(value, self.builtins, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown{hint}: use {self.choices}"

    @property
    def choices(self) -> str:
        """Return what may be chosen, as people read it."""
        shown = self.shown or ", ".join([*self.builtins, *filter(None, [self.others])])
        return f"{shown} or module:object"

    def validate(self, value: str, info: ValidationInfo) -> str:
        """Return a valid value; raise `ValueError` with a sentence about any other.

        With the context `STORED` nothing is loaded: a run folder can be read where the user's module is not.
        """
        if info.context == STORED:
            return value
        if self.refers(value):
            try:
                self.load(value)
            except ConfigError as error:
                raise ValueError(str(error).removeprefix(f"{self.key} = {value!r}").lstrip(": ")) from error
        elif value not in self.builtins and not self.others:
            raise ValueError(self.complaint(value))
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self.validate, handler(source))


def called_with(*arguments: str) -> Check:
    """Return a check that an object can be called with these positional arguments."""

    def check(loaded: Any) -> str:
        if not callable(loaded):
            return f"it is a {type(loaded).__name__}, not a function or class that takes ({', '.join(arguments)})"
        try:
            inspect.signature(loaded).bind(*arguments)
        except TypeError:
            return f"it takes {inspect.signature(loaded)}, where it is called with ({', '.join(arguments)})"
        except ValueError:  # written in C: it has no signature to look at
            return ""
        return ""

    return check


def with_members(members: Iterable[str]) -> Check:
    """Return a check that an object has these attributes and methods."""

    def check(candidate: Any) -> str:
        missing = [name for name in members if not hasattr(candidate, name)]
        return f"it has no {', '.join(missing)}" if missing else ""

    return check


def _import(reference: str) -> Any:
    """Return the object of ``module:object``; modules are also looked for in the working directory, as Python does."""
    module, _, path = reference.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        candidate: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {module!r}: install it, or start the command in the folder that holds it"
            ) from error
        raise ConfigError(f"the module {module!r} cannot be imported: {error}") from error
    except Exception as error:  # whatever a user's module raises while it is imported
        raise ConfigError(f"the module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        try:
            candidate = getattr(candidate, name)
        except AttributeError:
            public = [n for n in dir(candidate) if not n.startswith("_")]
            near = difflib.get_close_matches(name, public, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"{module!r} has no {path!r}{hint}") from None
    return candidate
