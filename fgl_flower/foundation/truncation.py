"""Prompts longer than a generator reads: it cuts them off without a word, and two classes may become one."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fgl_flower.config import SynthesisConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.generator import inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.prompt_families import family_of
from fgl_flower.foundation.text import Tokenizer, tokenizer_of


@dataclass(frozen=True)
class Truncation:
    """What a generator does not read of some prompts.

    Attributes
    ----------
    prompts : int
        Different prompts looked at.
    cut : tuple of str
        Those that are cut.
    clash : tuple of (str, str) or None
        Two prompts of different classes of which the same is read.
    mixed : frozenset of (str, str)
        All cut prompts, with their classes, of which the same is read as of a prompt of another class.
    """

    prompts: int
    cut: tuple[str, ...]
    clash: tuple[str, str] | None
    mixed: frozenset[tuple[str, str]] = frozenset()

    def sentence(self, tokens: int) -> str:
        """Return what to tell of it, "" if nothing is cut; `tokens` is how many the generator reads."""
        if self.clash:
            first, second = map(_short, self.clash)
            return (
                f"the generator reads {tokens} tokens of a prompt, and of {first} and {second}, which are of different "
                "classes, it reads the same: shorten the template, or put {class} in front"
            )
        if not self.cut:
            return ""
        share = 100 * len(self.cut) / self.prompts
        return (
            f"{len(self.cut):,} of {self.prompts:,} prompts ({share:.0f} %) are longer than the {tokens} tokens that "
            f"the generator reads, and are cut: {_short(self.cut[0])}"
        )


def truncation_of(prompts: Iterable[tuple[str, str]], tokenizer: Tokenizer) -> Truncation:
    """Return what a tokenizer cuts of these (prompt, class) pairs."""
    different = dict.fromkeys(prompts)
    cut: dict[str, None] = {}
    read: dict[tuple[int, ...], list[tuple[str, str]]] = defaultdict(list)
    for text, label in different:
        ids = tuple(tokenizer.ids(text, {})[0])
        if tokenizer.count(text) > tokenizer.length:
            cut[text] = None
        read[ids].append((text, label))
    clash, mixed = None, set()
    for alike in read.values():
        first, first_label = alike[0]
        other = next((text for text, label in alike if label != first_label), None)
        if other is not None and any(text in cut for text, _ in alike):
            clash = clash or (first, other)
            mixed |= {pair for pair in alike if pair[0] in cut}
    return Truncation(len({text for text, _ in different}), tuple(cut), clash, frozenset(mixed))


def truncation_for(config: SynthesisConfig, texts: Iterable[tuple[str, str]]) -> tuple[Truncation | None, int]:
    """Return what the generator does not read of these (prompt, class) pairs, and how many tokens it reads.

    None for a generator without a tokenizer of CLIP's kind, whose limit is not known here, and for one with T5 beside
    it, which reads more than a prompt may have.
    """
    origin = Origin.configured(config)
    try:
        tokenizer = tokenizer_of(origin)
        card = inspect(origin)
        if (family := family_of(card)) and family.has_t5(card):
            return None, 0
    except ConfigError:
        return None, 0
    return truncation_of(texts, tokenizer), tokenizer.length


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:40]} ... {text[-30:]}")
