"""A generator's tokenizer and text encoder of CLIP's kind, and prompts in which learned tokens stand.

Learned tokens (textual inversion, Gal et al., arXiv 2208.01618) take the place of words before the encoder reads the
prompt; neither tokenizer nor weights are changed for them, so tokens of a thousand clients never get in each other's
way.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch

from fgl_flower.errors import ModelError
from fgl_flower.foundation.generator import GeneratorCard, inspect
from fgl_flower.foundation.origin import Origin

# Token ids of a prompt, and what stands at some of its positions: (token, number of its vector).
Tokens = tuple[list[int], dict[int, tuple[str, int]]]


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
    """

    inner: Any
    length: int
    width: int

    def count(self, text: str) -> int:
        """Return the tokens of a text, start and end included, nothing cut off."""
        return len(self.inner(text, truncation=False)["input_ids"])

    def ids(self, text: str, learned: Mapping[str, int]) -> Tokens:
        """Return the token ids of a prompt, cut off or filled up to `length`, and where learned tokens stand.

        Parameters
        ----------
        text : str
        learned : mapping of str to int
            How many vectors each learned token has; a token takes as many places, filled with the start mark for now
            (pooled vectors are taken at the first end mark).

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
        for part in _split(text, learned):
            if part in learned:
                places |= {1 + len(ids) + i: (part, i) for i in range(learned[part])}
                ids += [inner.bos_token_id] * learned[part]
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
    return Tokenizer(inner, inner.model_max_length, config.hidden_size)


def text_folder(card: GeneratorCard) -> Path:
    """Return the folder that holds a generator's text encoder: its own, its base's or its prior's."""
    return next((folder for folder in card.folders if (folder / "text_encoder").is_dir()), card.folder)


def spoken(text: str, learned: Iterable[str]) -> str:
    """Return a prompt with the names of learned tokens in their place: "a <sea-star>" as "a sea star"."""
    tokens = set(learned)
    return "".join(part[1:-1].replace("-", " ") if part in tokens else part for part in _split(text, tokens))


def _split(text: str, learned: Iterable[str]) -> list[str]:
    pattern = "|".join(map(re.escape, sorted(learned, key=len, reverse=True)))
    return re.split(f"({pattern})", text) if pattern else [text]


class ClipText:
    """A frozen text encoder of CLIP's kind with its tokenizer.

    Parameters
    ----------
    tokenizer : Tokenizer
    model : transformers.CLIPTextModel or transformers.CLIPTextModelWithProjection
    """

    def __init__(self, tokenizer: Tokenizer, model: Any) -> None:
        self.tokenizer = tokenizer
        self.model = model.float().eval().requires_grad_(False)

    @classmethod
    def of(cls, tokenizer: Any, model: Any) -> Self:
        """Return the encoder of a transformers tokenizer and model."""
        return cls(Tokenizer(tokenizer, tokenizer.model_max_length, model.config.hidden_size), model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.get_input_embeddings().weight.device

    def words(self, text: str) -> torch.Tensor:
        """Return the embeddings of a text's tokens before the encoder reads them, (tokens of the text, width)."""
        ids = self.tokenizer.inner(text, add_special_tokens=False)["input_ids"]
        return self.model.get_input_embeddings().weight[ids].detach()

    def __call__(
        self, prompts: Sequence[Tokens], vectors: Mapping[str, torch.Tensor], *, hidden_states: bool = False
    ) -> Any:
        """Return the model's output of (N, tokens) prompts; differentiable in `vectors`, (vectors, width) by token."""
        where = [(row, place, *v) for row, (_, places) in enumerate(prompts) for place, v in places.items()]

        def replace(module: torch.nn.Module, inputs: Any, words: torch.Tensor) -> torch.Tensor:
            if not where:
                return words
            rows, positions = (torch.tensor([w[i] for w in where], device=words.device) for i in (0, 1))
            learned = torch.stack([vectors[token][number] for _, _, token, number in where])
            return words.index_put((rows, positions), learned.to(words))

        hook = self.model.get_input_embeddings().register_forward_hook(replace)
        try:
            ids = torch.tensor([ids for ids, _ in prompts], dtype=torch.int64, device=self.device)
            return self.model(ids, output_hidden_states=hidden_states)
        finally:
            hook.remove()
