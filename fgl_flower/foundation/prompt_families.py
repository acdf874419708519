"""How families of pipelines read prompts, told from their configuration files; no weight is read.

What the rest of the code must know of a family before anything is loaded stands in one `PromptFamily`: which text
encoders it has, which shape a prompt embedding has, and how wide a learned token is. What its encoders compute is in
`fgl_flower.foundation.encoders`, its training loss in `fgl_flower.foundation.objectives`, both by the name of the
pipeline: a new family is an entry in each.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fgl_flower.foundation.checkpoints import component_config, index_of

if TYPE_CHECKING:
    from fgl_flower.foundation.generator import GeneratorCard

PLAIN = "StableDiffusionPipeline"
XL, SD3, FLUX = "StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline"

_CLIP = "clip_text_model"


@dataclass(frozen=True)
class PooledShape:
    """Shape of a generator's prompt embedding.

    Attributes
    ----------
    tokens, width : int
        Of what the denoiser attends to.
    pooled : int
        Length of the pooled vector; 0: there is none.
    """

    tokens: int
    width: int
    pooled: int = 0

    @property
    def packed(self) -> tuple[int, int]:
        """Shape of the array that holds all of it: the pooled vector is one more row, filled up with zeros."""
        return self.tokens + bool(self.pooled), self.width


@dataclass(frozen=True)
class PromptFamily:
    """How pipelines of a class read prompts.

    Attributes
    ----------
    clip : tuple of str
        Text encoders of CLIP's kind. The vectors of a learned token are those for each of them, side by side in this
        order: (vectors, width 1 + width 2).
    attended : bool
        Whether the denoiser attends to what they say, and not to their pooled vectors alone.
    pooled : tuple of (str, str)
        Where the pooled vector comes from: encoders, and the keys of their configuration that tell its length.
    t5 : str
        Text encoder that is T5; it reads names in place of learned tokens. Empty: there is none.
    t5_needed : bool
        Whether the pipeline draws nothing without it.
    learns : bool
        Whether words can be learned: its training loss is known here.
    """

    clip: tuple[str, ...] = ("text_encoder",)
    attended: bool = True
    pooled: tuple[tuple[str, str], ...] = ()
    t5: str = ""
    t5_needed: bool = False
    learns: bool = True

    def complete(self, card: "GeneratorCard") -> bool:
        """Return whether a checkpoint has the text encoders that it needs, of the kinds that are known here."""
        index = index_of(card.folders)
        if any(_is_left_out(index, name) for name in self.clip) or (self.t5_needed and not self.has_t5(card)):
            return False
        return all(component_config(card.folders, name).get("model_type", _CLIP) == _CLIP for name in self.clip)

    def has_t5(self, card: "GeneratorCard") -> bool:
        """Return whether a checkpoint has the T5 encoder."""
        return bool(self.t5) and not _is_left_out(index_of(card.folders), self.t5)

    def token_width(self, card: "GeneratorCard") -> int:
        """Return the width of a learned token."""
        return sum(self.widths(card))

    def widths(self, card: "GeneratorCard") -> tuple[int, ...]:
        """Return the widths of the encoders in which learned tokens stand."""
        return tuple(int(component_config(card.folders, name).get("hidden_size", 0)) for name in self.clip)

    def shape(self, card: "GeneratorCard", length: int) -> PooledShape:
        """Return the shape of a prompt embedding; `length`: tokens of a prompt for the encoders of CLIP's kind."""
        width = self.token_width(card)
        if self.t5:
            width = int(component_config(card.folders, "transformer").get("joint_attention_dim", 0))
        pooled = sum(int(component_config(card.folders, name).get(key, 0)) for name, key in self.pooled)
        return PooledShape(self.attended * length + self.t5_tokens(card), width, pooled)

    def t5_tokens(self, card: "GeneratorCard") -> int:
        """Return how many tokens its T5 encoder reads of a prompt; 0: it has none."""
        if not self.t5:
            return 0
        guided = component_config(card.folders, "transformer").get("guidance_embeds")
        return 512 if card.pipeline == FLUX and guided else 256  # FLUX.1 [schnell] was trained with 256


FAMILIES = {
    PLAIN: PromptFamily(),
    XL: PromptFamily(clip=("text_encoder", "text_encoder_2"), pooled=(("text_encoder_2", "projection_dim"),)),
    SD3: PromptFamily(
        clip=("text_encoder", "text_encoder_2"),
        pooled=(("text_encoder", "projection_dim"), ("text_encoder_2", "projection_dim")),
        t5="text_encoder_3",
    ),
    FLUX: PromptFamily(
        attended=False, pooled=(("text_encoder", "hidden_size"),), t5="text_encoder_2", t5_needed=True, learns=False
    ),
}


def family_of(card: "GeneratorCard") -> PromptFamily | None:
    """Return how a generator reads prompts; None: only its own pipeline knows, which takes texts."""
    family = FAMILIES.get(card.pipeline)
    return family if family is not None and family.complete(card) else None


def learns(card: "GeneratorCard") -> bool:
    """Return whether words can be learned: not by models distilled with their guidance scale as an input, nor EDM's."""
    family = family_of(card)
    distilled = component_config(card.folders, "unet").get("time_cond_proj_dim") is not None
    return family is not None and family.learns and not distilled and not card.scheduler.startswith("EDM")


def _is_left_out(index: dict[str, Any], name: str) -> bool:
    entry = index.get(name, [])
    return isinstance(entry, list) and entry[1:] == [None]
