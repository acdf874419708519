"""The text encoder of a generator on its own: prompts to the embeddings that the denoiser attends to.

A client needs it to average its captions, a server to encode prompts with learned tokens in them. Learned tokens
(textual inversion, Gal et al., arXiv 2208.01618) take the place of words before the encoder reads the prompt; neither
tokenizer nor weights are changed for them, so tokens of a thousand clients never get in each other's way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from fgl_flower.errors import ModelError
from fgl_flower.foundation.checkpoints import component_variants, variant_of
from fgl_flower.foundation.generator import Generator, GeneratorCard, inspect
from fgl_flower.foundation.origin import Origin

PROMPTS_PER_CALL = 64


@dataclass(frozen=True)
class Tokenizer:
    """A generator's tokenizer.

    Attributes
    ----------
    inner : transformers.CLIPTokenizer
    length : int
        Tokens of an encoded prompt, start and end included.
    width : int
        Of the text encoder's embeddings.
    folder : Path
        Holds ``tokenizer`` and ``text_encoder``.
    """

    inner: Any
    length: int
    width: int
    folder: Path

    def count(self, text: str) -> int:
        """Return the tokens of a text, start and end included, nothing cut off."""
        return len(self.inner(text, truncation=False)["input_ids"])

    def ids(self, text: str, learned: Mapping[str, int]) -> tuple[list[int], dict[int, tuple[str, int]]]:
        """Return the token ids of a prompt, cut off or filled up to `length`, and where learned tokens stand.

        Parameters
        ----------
        text : str
        learned : mapping of str to int
            How many vectors each learned token has; a token takes as many places, filled with the end mark for now.

        Returns
        -------
        ids : list of int
            `length` of them.
        places : dict of int to (str, int)
            From positions to token and number of the vector.
        """
        inner, room = self.inner, self.length - 2
        ids: list[int] = []
        places: dict[int, tuple[str, int]] = {}
        pattern = "|".join(map(re.escape, sorted(learned, key=len, reverse=True)))
        for part in re.split(f"({pattern})", text) if pattern else [text]:
            if part in learned:
                places |= {1 + len(ids) + i: (part, i) for i in range(learned[part])}
                ids += [inner.eos_token_id] * learned[part]
            elif part.strip():
                ids += inner(part, add_special_tokens=False, truncation=False)["input_ids"]
        ids = [inner.bos_token_id, *ids[:room], inner.eos_token_id]
        ids += [inner.pad_token_id] * (self.length - len(ids))
        return ids, {place: vector for place, vector in places.items() if place <= room}


@lru_cache(maxsize=2)
def tokenizer_of(model: str | Origin, revision: str = "") -> Tokenizer:
    """Return the tokenizer of a generator, see `inspect`; nothing else is loaded.

    Raises
    ------
    ModelError
        If the generator is missing or its text encoder is not CLIP's, whose output Stable Diffusion attends to.
    """
    from transformers import AutoConfig, CLIPTokenizer

    model_id, folder = Origin.of(model).generator, text_folder(inspect(model, revision))
    try:
        config = AutoConfig.from_pretrained(folder / "text_encoder", local_files_only=True)
        inner = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{model_id!r} has no tokenizer and text encoder of CLIP's kind") from error
    if config.model_type != "clip_text_model":
        raise ModelError(f"the text encoder of {model_id!r} is a {config.model_type}, not a clip_text_model")
    return Tokenizer(inner, inner.model_max_length, config.hidden_size, folder)


def text_folder(card: GeneratorCard) -> Path:
    """Return the folder that holds a generator's text encoder: its own or that of the checkpoint it builds on."""
    own = (card.folder / "text_encoder").is_dir()
    return card.folder if own or card.base is None else card.base


class TextEncoder(torch.nn.Module):
    """A frozen CLIP text encoder with its tokenizer.

    Parameters
    ----------
    tokenizer : Tokenizer
    model : transformers.CLIPTextModel
    """

    def __init__(self, tokenizer: Tokenizer, model: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model.float().eval().requires_grad_(False)

    @classmethod
    def load(cls, model: str | Origin, revision: str = "") -> Self:
        """Load the text encoder of a generator, see `inspect`, on the CPU in float32.

        Raises
        ------
        ModelError
            As `tokenizer_of`, or if its weights are missing.
        """
        from transformers import CLIPTextModel

        tokenizer = tokenizer_of(model, revision)
        card = inspect(model, revision)
        if card.lora or card.file:  # a LoRA may change the text encoder, too, and a file holds the whole pipeline
            return cls.of(Generator.load(model, revision, "cpu", "float32"))
        try:
            folder = tokenizer.folder / "text_encoder"
            variant = variant_of((tokenizer.folder,)) if component_variants(folder) else None
            encoder = CLIPTextModel.from_pretrained(folder, local_files_only=True, variant=variant)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"cannot load the text encoder of {Origin.of(model).generator!r}") from error
        return cls(tokenizer, encoder)

    @classmethod
    def of(cls, generator: Generator) -> Self:
        """Return the text encoder of a loaded generator, which must be in float32; the two share the weights."""
        pipeline, card = generator.pipeline, generator.card
        inner, model = pipeline.tokenizer, pipeline.text_encoder
        return cls(Tokenizer(inner, inner.model_max_length, model.config.hidden_size, text_folder(card)), model)

    @torch.no_grad()
    def encode(self, texts: Sequence[str], learned: Mapping[str, np.ndarray] | None = None) -> torch.Tensor:
        """Return the embeddings of prompts.

        Parameters
        ----------
        texts : sequence of str
            At least one.
        learned : mapping of str to np.ndarray, optional
            Vectors of learned tokens by token, (vectors, width).

        Returns
        -------
        torch.Tensor
            (N, tokens, width) float32.
        """
        vectors = {token: torch.as_tensor(np.asarray(v, np.float32)) for token, v in (learned or {}).items()}
        chunks = [texts[start : start + PROMPTS_PER_CALL] for start in range(0, len(texts), PROMPTS_PER_CALL)]
        return torch.cat([self(*self.places(chunk, vectors), vectors) for chunk in chunks])

    def places(
        self, texts: Sequence[str], vectors: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, list[tuple[int, int, str, int]]]:
        """Return token ids, (N, tokens), and where vectors replace them: (row, position, token, number of vector)."""
        tokenised = [self.tokenizer.ids(text, {token: len(v) for token, v in vectors.items()}) for text in texts]
        where = [(row, place, *vector) for row, (_, p) in enumerate(tokenised) for place, vector in p.items()]
        return torch.tensor([ids for ids, _ in tokenised], dtype=torch.int64), where

    def words(self, text: str) -> torch.Tensor:
        """Return the embeddings of a text's tokens before the encoder reads them, (tokens of the text, width)."""
        ids = self.tokenizer.inner(text, add_special_tokens=False)["input_ids"]
        return self.model.get_input_embeddings().weight[ids].detach()

    def forward(
        self, ids: torch.Tensor, where: Sequence[tuple[int, int, str, int]], vectors: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return (N, tokens, width) embeddings of what `places` found; differentiable in `vectors`."""

        def replace(module: torch.nn.Module, inputs: Any, words: torch.Tensor) -> torch.Tensor:
            if not where:
                return words
            rows, positions = (torch.tensor([w[i] for w in where], device=words.device) for i in (0, 1))
            learned = torch.stack([vectors[token][number] for _, _, token, number in where])
            return words.index_put((rows, positions), learned.to(words.dtype))

        hook = self.model.get_input_embeddings().register_forward_hook(replace)
        try:
            return self.model(ids)[0]
        finally:
            hook.remove()
