"""What both sides of the wire share. The names below are what code of your own needs; see docs/extending.md.

They are imported when first asked for: a client that only names its classes must not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgl_flower.config import RunConfig
    from fgl_flower.data.sources import Source, load_source, source_of
    from fgl_flower.learning.building import build_model
    from fgl_flower.learning.classifier import Classifier
    from fgl_flower.learning.evaluation import evaluate
    from fgl_flower.learning.images import Images, decode
    from fgl_flower.learning.training import train
    from fgl_flower.levels.holdings import Holdings, counted
    from fgl_flower.levels.level import Description, Level, Offered
    from fgl_flower.levels.offers import Offer
    from fgl_flower.records.result import Result
    from fgl_flower.simulation import InlineGrid
    from fgl_flower.synthesis.store import SyntheticStore
    from fgl_flower.wire.arrays import load_arrays, to_arrays
    from fgl_flower.wire.payload import Prompt

_MODULES = {
    "config": ("RunConfig",),
    "data.sources": ("Source", "load_source", "source_of"),
    "learning.building": ("build_model",),
    "learning.classifier": ("Classifier",),
    "learning.evaluation": ("evaluate",),
    "learning.images": ("Images", "decode"),
    "learning.training": ("train",),
    "levels.holdings": ("Holdings", "counted"),
    "levels.level": ("Description", "Level", "Offered"),
    "levels.offers": ("Offer",),
    "records.result": ("Result",),
    "simulation": ("InlineGrid",),
    "synthesis.store": ("SyntheticStore",),
    "wire.arrays": ("load_arrays", "to_arrays"),
    "wire.payload": ("Prompt",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Classifier",
    "Description",
    "Holdings",
    "Images",
    "InlineGrid",
    "Level",
    "Offer",
    "Offered",
    "Prompt",
    "Result",
    "RunConfig",
    "Source",
    "SyntheticStore",
    "build_model",
    "counted",
    "decode",
    "evaluate",
    "load_arrays",
    "load_source",
    "source_of",
    "to_arrays",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
