"""A checkpoint's denoiser without its weights, as its configuration builds it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fgl_flower.foundation.checkpoints import component_config

if TYPE_CHECKING:
    from fgl_flower.foundation.generator import GeneratorCard


def denoiser_layers(card: "GeneratorCard", name: str, index: Mapping[str, Any]) -> Any:
    """Return the component of this name; None where there is none or its configuration alone does not build it."""
    import diffusers
    from accelerate import init_empty_weights

    kind = getattr(diffusers, str(index[name][1]), None) if name else None
    if kind is None:
        return None
    try:
        with init_empty_weights():
            return kind.from_config(component_config(card.folders, name))
    except (TypeError, ValueError, KeyError):
        return None  # loading will tell
