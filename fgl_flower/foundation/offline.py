"""Look at what this machine has of the hub, and ask the hub nothing."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fgl_flower.errors import reason

__all__ = ["not_cached", "offline"]

_VARIABLE = "HF_HUB_OFFLINE"


@contextmanager
def offline() -> Iterator[None]:
    """Make the hub's libraries answer from their caches alone, in this process, for a while.

    They read HF_HUB_OFFLINE when they are imported: what is imported already is told, too.
    """
    import huggingface_hub.constants

    modules: list[Any] = [huggingface_hub.constants]
    if "datasets" in sys.modules:
        import datasets.config

        modules.append(datasets.config)
    before, variable = [module.HF_HUB_OFFLINE for module in modules], os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value
        if "datasets" in sys.modules and len(modules) == 1:  # imported meanwhile, offline
            import datasets.config

            datasets.config.HF_HUB_OFFLINE = before[0]
        if variable is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = variable


def not_cached(error: BaseException) -> bool:
    """Return whether an error under `offline` means no more than that the hub would have to be asked."""
    from huggingface_hub import errors

    kinds = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, kinds) or "offline mode" in reason(cause).lower():
            return True
        cause = cause.__cause__ or cause.__context__
    return False
