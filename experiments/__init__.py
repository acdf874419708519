"""Recipes, command line, tables and benchmarks. `run` runs a configuration from Python and returns its result."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.runner import run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.runner import run

    return run
