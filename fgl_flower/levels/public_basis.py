"""A few directions in which captions differ, made of public sentences alone.

A prompt embedding has thousands of numbers, and differential privacy takes noise on each. But what captions say lies in
few directions. They are found (principal components) among the embeddings of sentences made of a public vocabulary:
clients and server make the same ones, and they cost no privacy. The sentences also tell what each word adds to the
coordinates (least squares), by which words are found for given ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import psutil

from fgl_flower.config import RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.encoders import PROMPTS_PER_CALL, PromptEncoder, embedding_shape
from fgl_flower.foundation.miniature import NAMES
from fgl_flower.foundation.origin import Origin
from fgl_flower.levels.vocabulary import MINIATURE, STYLE, Vocabulary

__all__ = ["PublicBasis", "caption_vocabulary"]

_CAPTION = "a {size} {colour} {shape} on a {background} background"  # as the miniature captioner says
_NOTHING = "image"  # in place of a class or a style that is not told
_SENTENCES = 2000
_OF_A_STYLE = 100  # sentences by which a style is told
_BYTES = 4  # of a number
_RIDGE = 1.0
_STARTS, _PASSES, _LISTED = 32, 3, 64  # of the search for words

Words = tuple[str, ...]


def caption_vocabulary(config: RunConfig, domains: Sequence[str]) -> Vocabulary:
    """Return the public words of captions, `vocabulary` or those of the shipped generator, domains as styles.

    Raises
    ------
    ConfigError
        If the generator is another one and the run names no vocabulary, or its file cannot be read.
    """
    if config.vocabulary:
        return Vocabulary.read(config.vocabulary).with_domains(domains)
    if config.generator not in NAMES:
        raise ConfigError(
            "prompt-level = 'embeddings' with dp-epsilon needs words that captions are made of: set vocabulary to a "
            "file of them, which lies on the server and on every node"
        )
    template = f"a {{style}} of {_CAPTION}" if domains else _CAPTION
    return replace(MINIATURE, template=template).with_domains(domains)


def check_room(config: RunConfig) -> None:
    """Refuse a basis for which this machine has too little memory: gigabytes where a prompt has many wide tokens.

    Raises
    ------
    ConfigError
        With what it takes and what is free.
    """
    tokens, width = embedding_shape(Origin.configured(config)).packed
    needed, free = _SENTENCES * tokens * width * _BYTES, psutil.virtual_memory().available
    if needed > free:
        raise ConfigError(
            f"prompt-level = 'embeddings' with dp-epsilon takes {needed / 1e9:.1f} GB of memory with the generator "
            f"{config.generator!r}, whose embeddings have {tokens} x {width} numbers, and {free / 1e9:.1f} GB are "
            "free: name a generator with smaller ones, or set prompt-level to votes or class-style"
        )


@dataclass(frozen=True, eq=False)
class PublicBasis:
    """Coordinates of captions, at most 1 in norm.

    Attributes
    ----------
    encoder : PromptEncoder
    vocabulary : Vocabulary
    shape : tuple of int
        (tokens, width) of a prompt embedding.
    mean : numpy.ndarray
        (tokens * width,)
    components : numpy.ndarray
        (dimensions, tokens * width), orthonormal rows.
    scale : float
        Length of an embedding, from the mean and within these directions, that nearly all sentences keep below.
    effects : mapping of str to numpy.ndarray
        By group of the vocabulary, styles left out: (words, dimensions), what a word adds to the coordinates.
    template : str
        Of prompts. To the miniature generator a caption without a pose shows none, a prompt of loose words any.
    """

    encoder: PromptEncoder
    vocabulary: Vocabulary
    shape: tuple[int, int]
    mean: np.ndarray
    components: np.ndarray
    scale: float
    effects: Mapping[str, np.ndarray]
    template: str

    @classmethod
    def of(cls, config: RunConfig, domains: Sequence[str]) -> "PublicBasis":
        """Return the basis of a run; made once a process.

        Raises
        ------
        ConfigError
            See `caption_vocabulary`; a `ModelError` if the generator has no text encoder of CLIP's kind.
        """
        vocabulary = caption_vocabulary(config, domains)
        template = vocabulary.template if config.vocabulary else MINIATURE.template
        check_room(config)
        return _basis(Origin.configured(config), vocabulary, template, config.dp_dimensions)

    def coordinates(self, texts: Sequence[str]) -> np.ndarray:
        """Return (texts, dimensions) float64 of at least one text; what is longer than 1 is scaled down to it."""
        result = (_encoded(self.encoder, texts) - self.mean) @ self.components.T / self.scale
        return result / np.maximum(1.0, np.linalg.norm(result, axis=1, keepdims=True))

    def embedding(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the (tokens, width) float32 prompt embedding at (dimensions,) coordinates."""
        return (self.mean + self.scale * coordinates @ self.components).reshape(self.shape).astype(np.float32)

    def sentence(self, words: Words, style: str) -> str:
        """Return the caption of a word for each group but the styles, in a style."""
        return self.vocabulary.text(_NOTHING, self._filled(words, style))

    def prompt(self, words: Words, style: str, label: str) -> str:
        """Return the prompt by which such captions of a class are drawn."""
        return replace(self.vocabulary, template=self.template).text(label, self._filled(words, style))

    def _filled(self, words: Words, style: str) -> dict[str, str]:
        return {STYLE: style or _NOTHING, **dict(zip(self.effects, words, strict=True))}

    @lru_cache(maxsize=64)  # noqa: B019 (a process has one basis, as long as it lives)
    def offset(self, style: str) -> np.ndarray:
        """Return the mean of sentences in a style, (dimensions,): without it words alone are left of a caption."""
        rng = np.random.default_rng(1)
        drawn = [tuple(words[int(rng.integers(len(words)))] for words in self._groups) for _ in range(_OF_A_STYLE)]
        return self.coordinates([self.sentence(words, style) for words in drawn]).mean(axis=0)

    def nearest(self, target: np.ndarray, style: str) -> Words:
        """Return the words of the sentence nearest to the mean coordinates of some captions, "" where they differ.

        Words are first searched for as if each added its effect, group by group from several beginnings, and the best
        are encoded in this style. Then a group is left open where the mean over all of its words comes nearer.

        Parameters
        ----------
        target : numpy.ndarray
            (dimensions,), without the `offset` of the style.
        style : str
        """
        groups, effects = self._groups, list(self.effects.values())
        rng = np.random.default_rng(0)
        found: dict[tuple[int, ...], float] = {}
        for _ in range(_STARTS):
            chosen = [int(rng.integers(len(one))) for one in effects]
            for place in list(range(len(effects))) * _PASSES:
                others = sum(effects[p][chosen[p]] for p in range(len(effects)) if p != place)
                distances = np.linalg.norm(effects[place] + others - target, axis=1)  # (words,)
                for word, distance in enumerate(distances):
                    found[(*chosen[:place], word, *chosen[place + 1 :])] = float(distance)
                chosen[place] = int(np.argmin(distances))
        near = sorted(found, key=found.__getitem__)[:_LISTED]
        listed = [tuple(words[i] for words, i in zip(groups, numbers, strict=True)) for numbers in near]
        exact = self._within(listed, style)  # (listed, dimensions)
        first = int(np.argmin(np.linalg.norm(exact - target, axis=1)))
        return self._opened(listed[first], exact[first], target, style)

    def _opened(self, words: Words, at: np.ndarray, target: np.ndarray, style: str) -> Words:
        """Return words without those of groups whose mean comes nearer to the target, the best group first."""
        steps = [
            self._within([(*words[:i], other, *words[i + 1 :]) for other in group], style).mean(axis=0) - at
            for i, group in enumerate(self._groups)
        ]
        result, left = list(words), set(range(len(words)))
        while left:
            best = min(left, key=lambda i: float(np.linalg.norm(at + steps[i] - target)))
            if np.linalg.norm(at + steps[best] - target) >= np.linalg.norm(at - target):
                break
            at = at + steps[best]
            result[best] = ""
            left.remove(best)
        return tuple(result)

    def fillings(self, words: Words, count: int, seed: int) -> list[Words]:
        """Return at most so many different choices of the open words, each word of a group about as often."""
        rng = np.random.default_rng(seed)
        columns = [
            np.concatenate([rng.permutation(group) for _ in range(-(-count // len(group)))])[:count].tolist()
            if word == ""
            else [word] * count
            for word, group in zip(words, self._groups, strict=True)
        ]
        return list(dict.fromkeys(zip(*columns, strict=True)))

    @property
    def _groups(self) -> list[tuple[str, ...]]:
        return [words for name, words in self.vocabulary.groups if name != STYLE]

    def _within(self, listed: Sequence[Words], style: str) -> np.ndarray:
        return self.coordinates([self.sentence(words, style) for words in listed]) - self.offset(style)


@lru_cache(maxsize=1)
def _basis(origin: Origin, vocabulary: Vocabulary, template: str, dimensions: int) -> PublicBasis:
    encoder, groups = PromptEncoder.load(origin), vocabulary.groups
    rng = np.random.default_rng(0)
    drawn = np.stack([rng.integers(len(words), size=_SENTENCES) for _, words in groups], axis=1)
    texts = [
        vocabulary.text(_NOTHING, {name: words[i] for (name, words), i in zip(groups, row, strict=True)})
        for row in drawn.tolist()
    ]
    shape = encoder.encode(texts[:1]).shape
    rows = np.empty((len(texts), shape[1] * shape[2]), dtype=np.float32)
    for start in range(0, len(texts), PROMPTS_PER_CALL):  # part by part: all of them may be gigabytes
        rows[start : start + PROMPTS_PER_CALL] = _encoded(encoder, texts[start : start + PROMPTS_PER_CALL])
    mean = rows.mean(axis=0)
    rows -= mean
    # By sentences: they are fewer than a large encoder's tokens times width.
    _, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    components = (vectors[:, ::-1][:, :dimensions].T @ rows).astype(np.float64)
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]  # the same on every machine
    inside = rows @ components.T
    scale = float(np.quantile(np.linalg.norm(inside, axis=1), 0.95))
    chosen = np.concatenate([np.eye(len(words))[drawn[:, i]] for i, (_, words) in enumerate(groups)], axis=1)
    chosen -= chosen.mean(axis=0)
    solved = np.linalg.solve(chosen.T @ chosen + _RIDGE * np.eye(chosen.shape[1]), chosen.T @ (inside / scale))
    parts = np.split(solved, np.cumsum([len(words) for _, words in groups])[:-1])
    effects = {name: part for (name, _), part in zip(groups, parts, strict=True) if name != STYLE}
    return PublicBasis(encoder, vocabulary, (shape[1], shape[2]), mean, components, scale, effects, template)


def _encoded(encoder: PromptEncoder, texts: Sequence[str]) -> np.ndarray:
    different = list(dict.fromkeys(texts))
    rows = encoder.encode(different).numpy().reshape(len(different), -1).astype(np.float64)
    places = {text: i for i, text in enumerate(different)}
    return rows[[places[text] for text in texts]]
