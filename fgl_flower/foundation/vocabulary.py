"""Class names that a generator cannot read: its tokenizer splits their words, which were rare or absent in training."""

import re
from collections.abc import Iterable

from fgl_flower.config import SynthesisConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.capabilities import capabilities_of
from fgl_flower.foundation.generator import inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import Tokenizer, tokenizer_of

_SHARE = 0.5  # of a name's words: "garbage truck" may have one rare word and still be understood


def unknown_names(names: Iterable[str], tokenizer: Tokenizer) -> list[str]:
    """Return the names of which at least half of the words are no words of the tokenizer's.

    A word is known if it is a single token of more than one character: a lone letter or digit is in every vocabulary
    and says nothing of a picture.
    """
    unknown = []
    for name in names:
        words = re.findall(r"[^\W_]+", name)
        strange = [word for word in words if len(word) == 1 or not _is_token(word, tokenizer)]
        if not words or len(strange) >= _SHARE * len(words):
            unknown.append(name)
    return unknown


def unreadable(config: SynthesisConfig, names: Iterable[str]) -> list[str]:
    """Return the names that the run's generator cannot read; none for one without a tokenizer of CLIP's kind."""
    try:
        return unknown_names(names, tokenizer_of(Origin.configured(config)))
    except ConfigError:
        return []


def unknown_names_note(config: SynthesisConfig, names: Iterable[str]) -> str:
    """Return a sentence on the names that the run's generator cannot read, "" if it reads all.

    Also "" for a generator without a tokenizer of CLIP's kind, whose vocabulary is not known here.
    """
    different = list(dict.fromkeys(names))
    unknown = unreadable(config, different)
    if not unknown:
        return ""
    takes = capabilities_of(inspect(Origin.configured(config)))
    levels = ["instance", *["embeddings"] * takes.embeddings, *["tokens"] * takes.tokens]
    shown = ", ".join(map(repr, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
    return (
        f"{len(unknown)} of {len(different)} class names in the prompts are no words that the generator knows "
        f"({shown}): what it draws of them may show anything; "
        f"prompt-level = {', '.join(map(repr, levels))} or 'auto' describe the images"
    )


def _is_token(word: str, tokenizer: Tokenizer) -> bool:
    ids = tokenizer.inner(word, add_special_tokens=False, truncation=False)["input_ids"]
    return len(ids) == 1 and ids[0] != tokenizer.inner.unk_token_id
