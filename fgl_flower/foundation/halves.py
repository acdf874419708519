"""Generators that diffusers keeps as two checkpoints: a decoder, and the prior that its model card names.

The prior makes an image embedding of a prompt, the decoder an image of that. Named is the decoder, as with diffusers'
AutoPipelineForText2Image; diffusers' combined pipeline of both then draws.
"""

import warnings
from pathlib import Path
from typing import Any

from fgl_flower.errors import ModelError

COMBINED = {"KandinskyV22Pipeline": "KandinskyV22CombinedPipeline"}
"""From the class of a decoder's pipeline to that of both. Stable Cascade's and Wuerstchen's diffusers has given up."""


def prior_named_by(folder: Path) -> str:
    """Return the hub id of the prior, or its path, which may be relative to the decoder's folder.

    Raises
    ------
    ModelError
        If the decoder's model card names none.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        named = ModelCard.load(folder / "README.md").data.to_dict().get("prior")
    except (OSError, ValueError, YAMLError):  # no card, or none with metadata
        named = None
    prior = named[0] if isinstance(named, list) and named else named
    if not isinstance(prior, str) or not prior:
        raise ModelError(
            f"{folder.name!r} is one half of a pipeline, a decoder, and its model card names no prior: begin README.md "
            "in its folder with the lines ---, prior:, - owner/name (or a folder), ---"
        )
    return str(folder / prior) if (folder / prior).is_dir() else prior


def is_combined(pipeline: Any) -> bool:
    """Return whether a loaded pipeline is one of two halves."""
    return type(pipeline).__name__ in COMBINED.values()


def combine(decoder: Any, prior: Any) -> Any:
    """Return the pipeline of two loaded halves."""
    import diffusers

    # The combined pipeline itself gives its halves the arguments that diffusers warns of.
    warnings.filterwarnings("ignore", r"(Passing )?`callback", FutureWarning)
    kind = getattr(diffusers, COMBINED[type(decoder).__name__])
    return kind(**decoder.components, **{f"prior_{name}": part for name, part in prior.components.items()})


def rebuilt(pipeline: Any, **parts: Any) -> Any:
    """Return a combined pipeline with other parts: to change an attribute would not reach its halves, which draw."""
    result = type(pipeline)(**{**pipeline.components, **parts})
    result.set_progress_bar_config(disable=True)
    return result
