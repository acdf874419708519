"""Where a generator's weights come from: all keys of a run that say so, as one value."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fgl_flower.foundation.miniature import NAMES

if TYPE_CHECKING:
    from fgl_flower.config import SynthesisConfig


@dataclass(frozen=True)
class Origin:
    """What names the weights that draw.

    Attributes
    ----------
    generator : str
        Hub id, path of a folder written by `save_pretrained` or of a .safetensors file of a whole pipeline, a shipped
        miniature's name, or ``module:object``.
    revision : str
        Hub revision (branch, tag or commit); empty: the default branch. Ignored for paths.
    lora : str
        Hub id or path of LoRA weights that are fused into the generator; empty: none.
    lora_scale : float
        What they are multiplied by.
    config : str
        Folder or hub id of the configuration of a single-file checkpoint; empty: the usual one of its family.
    """

    generator: str
    revision: str = ""
    lora: str = ""
    lora_scale: float = 1.0
    config: str = ""

    @classmethod
    def configured(cls, config: "SynthesisConfig") -> Self:
        """Return the origin that a run configuration names."""
        return cls(
            config.generator,
            config.generator_revision,
            config.generator_lora,
            config.generator_lora_scale,
            config.generator_config,
        )

    @classmethod
    def of(cls, model: "str | Self", revision: str = "") -> "Origin | Self":
        """Return an origin as it is, or that of a plain generator."""
        return cls(model, revision) if isinstance(model, str) else model

    def absolute(self) -> "Origin":
        """Return the same with absolute paths, for processes that run in another folder."""
        generator, lora, config = map(_absolute, (self.generator, self.lora, self.config))
        return replace(self, generator=generator, lora=lora, config=config)


def _absolute(place: str) -> str:
    path = Path(place).expanduser()
    return str(path.resolve()) if place and place not in NAMES and path.exists() else place
