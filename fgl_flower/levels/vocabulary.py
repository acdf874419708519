"""Words that prompts can be made of without looking at an image: groups of them, and a template that takes one of each.

A candidate prompt is a choice of words for some of the groups; the others stay open. What is drawn of it takes open
words evenly, in an order that depends on the run's seed and the candidate alone: the same answers of clients always
lead to the same prompts.
"""

import string
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from fgl_flower.data.world import BACKGROUNDS, CLASSES, COLOURS, SIZES
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.miniature import NAMES

__all__ = ["Candidate", "Vocabulary", "vocabulary_of"]

STYLE, CLASS = "style", "class"
_MOST = 1_000_000  # first candidates among which some are chosen by lot


@dataclass(frozen=True, order=True)
class Candidate:
    """What a class may look like.

    Attributes
    ----------
    label : str
        The class.
    words : tuple of str
        One for each group of the vocabulary, in order; empty: open.
    """

    label: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """Groups of words and how a prompt is made of them.

    Attributes
    ----------
    template : str
        With a field for each group, such as ``{colour}``; ``{class}`` is the name of the class.
    groups : tuple of (str, tuple of str)
        Names of the groups and their words. The group ``style``, if it has no words of its own, takes the federation's
        domains: see `with_domains`.
    first : tuple of str
        Groups whose words are crossed for the first candidates; the others follow, one a round, in their order.
    """

    template: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    first: tuple[str, ...]

    @classmethod
    def read(cls, path: str) -> Self:
        """Return the vocabulary in a TOML file: ``template``, ``first``, and the groups in the table ``[words]``.

        Raises
        ------
        ConfigError
            If there is none, or it holds anything else.
        """
        where = f"vocabulary = {path!r}"
        try:
            told = tomllib.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} is not valid TOML: {error}") from None
        if why := _fault(told):
            raise ConfigError(f"{where}: {why}")
        groups = tuple((str(name), tuple(map(str, words))) for name, words in told["words"].items())
        return cls(str(told["template"]), groups, tuple(map(str, told["first"])))

    def with_domains(self, domains: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary with the federation's domains as the words of ``{style}``, if it has none for it.

        Raises
        ------
        ConfigError
            If the federation has no domains, either.
        """
        if STYLE in dict(self.groups) or STYLE not in _fields(self.template):
            return self
        if not domains:
            raise ConfigError(
                "the vocabulary's template holds {style}, and the data set has no domains: give [words] a group 'style'"
            )
        later = [group for group in self.groups if group[0] not in self.first]
        first = [group for group in self.groups if group[0] in self.first]
        return replace(self, groups=(*first, (STYLE, tuple(domains)), *later))

    @property
    def later(self) -> tuple[str, ...]:
        """Groups that are varied one after the other once the first candidates have been voted on."""
        return tuple(name for name, _ in self.groups if name not in self.first)

    @property
    def named(self) -> bool:
        """Whether prompts hold the name of the class, so that a candidate looks different from class to class."""
        return CLASS in _fields(self.template)

    def candidates(self, label: str, most: int, seed: int) -> list[Candidate]:
        """Return the first candidates of a class: all words of the first groups crossed, at most so many by lot."""
        each = [words if name in self.first else ("",) for name, words in self.groups]
        sizes = list(map(len, each))
        chosen = np.arange(prod(sizes))
        if len(chosen) > most:  # the same ones for all classes, which then share what is drawn
            chosen = np.sort(np.random.default_rng([seed, len(chosen)]).choice(len(chosen), most, replace=False))
        rows = zip(*np.unravel_index(chosen, sizes), strict=True)
        return [Candidate(label, tuple(words[i] for words, i in zip(each, row, strict=True))) for row in rows]

    def varied(self, candidate: Candidate, group: str) -> list[Candidate]:
        """Return a candidate with each word of a group that it leaves open."""
        at = [name for name, _ in self.groups].index(group)
        before, after = candidate.words[:at], candidate.words[at + 1 :]
        return [replace(candidate, words=(*before, word, *after)) for word in self.groups[at][1]]

    def texts(self, candidate: Candidate, count: int, seed: int) -> list[tuple[str, str]]:
        """Return so many prompts of a candidate, each with its style; open words are taken evenly, in random order."""
        name = candidate.label if self.named else ""
        rng = np.random.default_rng([seed, zlib.crc32("\n".join((name, *candidate.words)).encode())])
        columns: dict[str, list[str]] = {}
        for (group, words), word in zip(self.groups, candidate.words, strict=True):
            blocks = [] if word else [rng.permutation(len(words)) for _ in range(-(-count // len(words)))]
            columns[group] = [words[i] for i in np.concatenate(blocks)[:count]] if blocks else [word] * count
        rows = [{group: column[i] for group, column in columns.items()} for i in range(count)]
        return [(self.text(candidate.label, row), row.get(STYLE, "")) for row in rows]

    def text(self, label: str, words: Mapping[str, str]) -> str:
        """Return the prompt of a class with these words."""
        return self.template.format(**{CLASS: label, **words})

    def samples(self, label: str) -> list[str]:
        """Return prompts of a class that hold every word once: what is wrong with one shows in them."""
        start = {name: words[0] for name, words in self.groups}
        return [self.text(label, start | {name: word}) for name, words in self.groups for word in words]


MINIATURE = Vocabulary(
    "{shape}, a {size} {colour} {shape} on a {background} background, {style}",
    (("shape", CLASSES), ("colour", tuple(COLOURS)), ("size", tuple(SIZES)), ("background", tuple(BACKGROUNDS))),
    ("shape", "colour"),
)
"""Words that the shipped generator was taught, whatever the classes are called."""


def vocabulary_of(path: str, generator: str, domains: Sequence[str]) -> Vocabulary:
    """Return the vocabulary of a run.

    Parameters
    ----------
    path : str
        The key `vocabulary`; empty: that of the shipped generator.
    generator : str
        The key `generator`.
    domains : sequence of str
        The federation's.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if path:
        return Vocabulary.read(path).with_domains(domains)
    if generator in NAMES:
        return MINIATURE.with_domains(domains)
    raise ConfigError(
        f"prompt-level = 'votes' needs words that the generator {generator!r} knows: set vocabulary to a file of them "
        "(docs/prompts.md)"
    )


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _fault(told: Mapping[str, Any]) -> str:
    """Return what is wrong with a vocabulary's file, "" if nothing is."""
    template, first, words = (told.get(key) for key in ("template", "first", "words"))
    if set(told) != {"template", "first", "words"} or not isinstance(template, str) or not isinstance(words, dict):
        return "it must hold template (a string), first (names of groups) and the groups of words as lists in [words]"
    for name, group in words.items():
        if not isinstance(group, list) or not group or not all(isinstance(one, str) and one.strip() for one in group):
            return f"the group {name!r} must be a list of words"
        if len(set(group)) != len(group):
            return f"the group {name!r} names a word twice"
    try:
        fields = _fields(template)
        template.format(**dict.fromkeys({*words, CLASS, STYLE}, "word"))
    except (ValueError, KeyError, IndexError, AttributeError):
        return f"the template {template!r} may hold nothing but {{class}}, {{style}} and the groups' names in braces"
    if CLASS in words:
        return "{class} is the name of the class: call the group of words something else"
    if idle := sorted(set(words) - fields):
        return f"the template does not hold {{{idle[0]}}}"
    if not isinstance(first, list) or not first or len(set(map(str, first))) != len(first):
        return "first must name the groups whose words are crossed for the first candidates"
    if wrong := sorted(set(map(str, first)) - set(words)):
        return f"first names {wrong[0]!r}, and there is no such group of words"
    if (count := prod(len(words[name]) for name in first)) > _MOST:
        return f"the words of the first groups can be chosen in {count:,} ways: put some of them later"
    return ""
