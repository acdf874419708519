"""The text encoders of a generator on their own: prompts to what its denoiser takes of them.

A client needs them to average its captions and to learn tokens, a server to encode prompts with learned tokens in them.
Stable Diffusion attends to one encoder of CLIP's kind. Stable Diffusion XL (arXiv 2307.01952) attends to two and takes
the pooled vector of the second; Stable Diffusion 3 (arXiv 2403.03206) attends to two and to T5 behind them, and takes
both pooled vectors; Flux attends to T5 and takes CLIP's pooled vector. As one array an embedding is
(tokens + 1, width): what the denoiser attends to, and in the last row the pooled vector, filled up with zeros.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F

from fgl_flower.errors import ModelError, reason
from fgl_flower.foundation.checkpoints import component_variants, index_of, variant_of
from fgl_flower.foundation.generator import Generator, GeneratorCard, inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.prompt_families import FLUX, PLAIN, SD3, XL, PooledShape, family_of
from fgl_flower.foundation.text import ClipText, Tokenizer, Tokens, spoken, tokenizer_of

PROMPTS_PER_CALL = 64
_T5_PROMPTS_PER_CALL = 8  # its attention takes 64 heads times tokens squared, 64 MiB a prompt of 512


class Reading(NamedTuple):
    """A prompt as the encoders read it.

    Attributes
    ----------
    text : str
        For T5: names stand in place of learned tokens.
    clips : tuple of Tokens
        For each of the encoders of CLIP's kind.
    """

    text: str
    clips: tuple[Tokens, ...]


class Condition(NamedTuple):
    """What a denoiser takes of prompts.

    Attributes
    ----------
    attended : torch.Tensor
        (N, T, D)
    pooled : torch.Tensor or None
        (N, P), P <= D
    """

    attended: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def packed(self) -> torch.Tensor:
        """One array, (N, T, D) without a pooled vector, (N, T + 1, D) with one."""
        if self.pooled is None:
            return self.attended
        row = F.pad(self.pooled, (0, self.attended.shape[-1] - self.pooled.shape[-1]))
        return torch.cat([self.attended, row[:, None]], dim=1)


def unpack(packed: torch.Tensor, shape: PooledShape) -> Condition:
    """Return what `Condition.packed` holds of a pipeline that takes a pooled vector."""
    return Condition(packed[:, :-1], packed[:, -1, : shape.pooled])


def _plain(clips: Sequence[Any], t5: torch.Tensor) -> Condition:
    return Condition(clips[0].last_hidden_state, None)


def _xl(clips: Sequence[Any], t5: torch.Tensor) -> Condition:
    return Condition(torch.cat([one.hidden_states[-2] for one in clips], dim=-1), clips[1].text_embeds)


def _sd3(clips: Sequence[Any], t5: torch.Tensor) -> Condition:
    both = torch.cat([one.hidden_states[-2] for one in clips], dim=-1)
    attended = torch.cat([F.pad(both, (0, t5.shape[-1] - both.shape[-1])), t5], dim=1)
    return Condition(attended, torch.cat([one.text_embeds for one in clips], dim=-1))


def _flux(clips: Sequence[Any], t5: torch.Tensor) -> Condition:
    return Condition(t5, clips[0].pooler_output)


# What the denoiser takes of the encoders' outputs; T5's is (N, T, D).
_JOINED: Mapping[str, Callable[[Sequence[Any], torch.Tensor], Condition]] = {
    PLAIN: _plain,
    XL: _xl,
    SD3: _sd3,
    FLUX: _flux,
}


class PromptEncoder:
    """The frozen text encoders of a generator, in float32.

    Parameters
    ----------
    card : GeneratorCard
    clips : sequence of ClipText
        Those of CLIP's kind.
    t5 : (tokenizer, model), optional
        As of transformers; where a family has one that a checkpoint leaves out, zeros stand for what it says.

    Raises
    ------
    ModelError
        If the pipeline's encoders are not known here.
    """

    def __init__(self, card: GeneratorCard, clips: Sequence[ClipText], t5: tuple[Any, Any] | None = None) -> None:
        family = family_of(card)
        if family is None:
            raise ModelError(f"the text encoders of {card.id!r}, a {card.pipeline}, are not known here")
        self.clips = tuple(clips)
        self.widths = tuple(clip.tokenizer.width for clip in clips)
        self.shape = family.shape(card, self.tokenizer.length)
        self._join = _JOINED[card.pipeline]
        self._t5, self._t5_tokens = t5, family.t5_tokens(card)
        if t5:
            t5[1].float().eval().requires_grad_(False)

    @classmethod
    def load(cls, model: str | Origin, revision: str = "") -> Self:
        """Load the text encoders of a generator, see `inspect`, on the CPU.

        Raises
        ------
        ModelError
            As `tokenizer_of`, or if weights are missing.
        """
        tokenizer_of(model, revision)
        card = inspect(model, revision)
        if card.lora or card.file:  # a LoRA may change the text encoders, too, and a file holds the whole pipeline
            return cls.of(Generator.load(model, revision, "cpu", "float32"))
        try:
            return cls._of(card, lambda name: _component(card, name))
        except (OSError, ValueError, RuntimeError, AttributeError, TypeError) as error:
            raise ModelError(f"cannot load the text encoders of {card.id!r}: {reason(error)}") from error

    @classmethod
    def of(cls, generator: Generator) -> Self:
        """Return the text encoders of a loaded generator, which must be in float32; the two share the weights."""
        return cls._of(generator.card, lambda name: getattr(generator.pipeline, name))

    @classmethod
    def _of(cls, card: GeneratorCard, component: Callable[[str], Any]) -> Self:
        family = family_of(card)
        if family is None:
            raise ModelError(f"the text encoders of {card.id!r}, a {card.pipeline}, are not known here")
        clips = [ClipText.of(component(_tokenizer_name(name)), component(name)) for name in family.clip]
        t5 = component(family.t5) if family.t5 else None
        return cls(card, clips, t5 and (component(_tokenizer_name(family.t5)), t5))

    @property
    def tokenizer(self) -> Tokenizer:
        """The first encoder's."""
        return self.clips[0].tokenizer

    def words(self, text: str) -> torch.Tensor:
        """Return the embeddings of a text's tokens before the encoders read them, (tokens of the text, width)."""
        words = [clip.words(text) for clip in self.clips]
        return torch.cat([one[: min(map(len, words))] for one in words], dim=1)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], learned: Mapping[str, np.ndarray] | None = None) -> torch.Tensor:
        """Return the packed embeddings of prompts.

        Parameters
        ----------
        texts : sequence of str
            At least one.
        learned : mapping of str to np.ndarray, optional
            Vectors of learned tokens by token, (vectors, width 1 + width 2).

        Returns
        -------
        torch.Tensor
            (N, *shape.packed) float32.
        """
        vectors = {token: torch.as_tensor(np.asarray(v, np.float32)) for token, v in (learned or {}).items()}
        prompts = self.read(texts, {token: len(v) for token, v in vectors.items()})
        chunks = [prompts[start : start + PROMPTS_PER_CALL] for start in range(0, len(prompts), PROMPTS_PER_CALL)]
        return torch.cat([self.condition(chunk, vectors).packed for chunk in chunks])

    def read(self, texts: Sequence[str], learned: Mapping[str, int]) -> list[Reading]:
        """Return prompts as the encoders read them, given how many vectors each learned token has."""
        return [
            Reading(spoken(text, learned), tuple(clip.tokenizer.ids(text, learned) for clip in self.clips))
            for text in texts
        ]

    def condition(self, prompts: Sequence[Reading], vectors: Mapping[str, torch.Tensor]) -> Condition:
        """Return what the denoiser takes of prompts; differentiable in the `vectors` of learned tokens."""
        parts = {token: v.split(self.widths, dim=1) for token, v in vectors.items()}
        clips = [
            clip(
                [prompt.clips[i] for prompt in prompts],
                {token: part[i] for token, part in parts.items()},
                hidden_states=len(self.clips) > 1,  # those before the last are attended to where there are several
            )
            for i, clip in enumerate(self.clips)
        ]
        return self._join(clips, self._read_by_t5([prompt.text for prompt in prompts]))

    @torch.no_grad()
    def _read_by_t5(self, texts: Sequence[str]) -> torch.Tensor:
        device = self.clips[0].device
        if self._t5 is None:
            return torch.zeros(len(texts), self._t5_tokens, self.shape.width, device=device)
        tokenizer, model = self._t5
        options = {"padding": "max_length", "max_length": self._t5_tokens, "truncation": True, "return_tensors": "pt"}
        ids = tokenizer(list(texts), **options).input_ids.to(device)
        return torch.cat([model(part)[0] for part in ids.split(_T5_PROMPTS_PER_CALL)])


def embedding_shape(model: str | Origin) -> PooledShape:
    """Return the shape of a generator's prompt embedding, from its configuration.

    Raises
    ------
    ModelError
        If its first text encoder is not of CLIP's kind; see `tokenizer_of`.
    """
    tokenizer, card = tokenizer_of(model), inspect(model)
    family = family_of(card)
    return family.shape(card, tokenizer.length) if family else PooledShape(tokenizer.length, tokenizer.width)


def token_width(model: str | Origin) -> int:
    """Return the width of a learned token: the encoders' widths added up.

    Raises
    ------
    ModelError
        As `embedding_shape`.
    """
    tokenizer, card = tokenizer_of(model), inspect(model)
    family = family_of(card)
    return family.token_width(card) if family else tokenizer.width


def _tokenizer_name(encoder: str) -> str:
    return encoder.replace("text_encoder", "tokenizer")


def _component(card: GeneratorCard, name: str) -> Any:
    """Return a text encoder or tokenizer from a checkpoint's folder; None if the checkpoint leaves it out."""
    import transformers

    entry = index_of(card.folders).get(name)
    if not isinstance(entry, list) or entry[1] is None:
        return None
    folder = next((place / name for place in card.folders if (place / name).is_dir()), Path(name))
    if "Tokenizer" in entry[1]:
        return getattr(transformers, entry[1]).from_pretrained(folder, local_files_only=True)
    variant = variant_of(card.folders) if component_variants(folder) else None
    options = {"local_files_only": True, "variant": variant, "dtype": torch.float32}
    return getattr(transformers, entry[1]).from_pretrained(folder, **options)
