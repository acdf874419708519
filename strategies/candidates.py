"""Candidates as clients compare them with their images: some images of each are drawn, and their features averaged."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.errors import RunError
from fgl_flower.foundation.captioner import load_captioner
from fgl_flower.levels.image_features import CAPTIONS, caption_words, embedded
from fgl_flower.levels.vocabulary import Candidate, Vocabulary
from fgl_flower.synthesis.engine import Progress, SynthesisEngine
from fgl_flower.synthesis.plan import SynthesisPlan, plan_of
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore

if TYPE_CHECKING:
    from fgl_flower.foundation.own import Describes

See = Callable[[Iterator[Image.Image]], np.ndarray]
_SHRINKAGE = 0.1  # of each feature's variance towards the mean one: a feature that never varies must not decide alone
_AT_ONCE = 512  # stored images that are in memory


@dataclass(frozen=True)
class Appearance:
    """What candidates look like.

    Attributes
    ----------
    features : numpy.ndarray
        (candidates, width) float32, times `scale`.
    scale : numpy.ndarray
        (width,) float32 up to 1: features that vary among images of one candidate count less.
    """

    features: np.ndarray
    scale: np.ndarray


class Studio:
    """Draws candidates and looks at them.

    Parameters
    ----------
    config : RunConfig
    vocabulary : Vocabulary
    engine : SynthesisEngine
        Draws.
    store : SyntheticStore
        Keeps what is drawn; an image that the training set asks for, too, is drawn once.
    progress : callable, optional
        Told of (images drawn, images planned).
    see : callable, optional
        From RGB images to their features, (images, width); by default what `image-encoder` says.
    """

    def __init__(
        self,
        config: RunConfig,
        vocabulary: Vocabulary,
        engine: SynthesisEngine,
        store: SyntheticStore,
        progress: Progress | None = None,
        see: See | None = None,
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self.engine = engine
        self.store = store
        self.progress = progress
        self.see = see or self._see

    def look(self, candidates: Sequence[Candidate]) -> Appearance:
        """Return what these look like, by `vote-images` images each.

        Raises
        ------
        RunError
            If the generator's safety checker blanks every image of a candidate.
        """
        count, seed = self.config.vote_images, self.config.seed
        texts = [[text for text, _ in self.vocabulary.texts(one, count, seed)] for one in candidates]
        plan = self._drawn(texts)
        positions: dict[str, list[int]] = {}
        for position, image in enumerate(plan.images):
            positions.setdefault(image.prompt, []).append(position)
        features = self.see(self._images(plan.keys))
        groups = [[i for text in dict.fromkeys(own) for i in positions.get(text, ())] for own in texts]
        if blank := next((own[0] for own, group in zip(texts, groups, strict=True) if not group), None):
            raise RunError(f"the generator's safety checker blanks every image of a candidate such as {blank!r}")
        return appearance([features[group] for group in groups])

    def _drawn(self, texts: Sequence[Sequence[str]]) -> SynthesisPlan:
        """Return the plan of all texts, each as often as the candidate needs it that uses it most; they are drawn."""
        most: dict[str, int] = {}
        for own in texts:
            for text in own:
                most[text] = max(most.get(text, 0), own.count(text))
        config = self.config
        plan = plan_of([(text, "", "", n) for text, n in most.items()], settings_for(config), config.seed)
        report = self.engine.fill(plan, self.store, progress=self.progress)
        lost = set(report.blanked)
        return plan.select(key for key in plan.keys if key not in lost) if lost else plan

    def _see(self, images: Iterator[Image.Image]) -> np.ndarray:
        config, captions = self.config, list[str]()
        if config.image_encoder != CAPTIONS:
            return embedded(images, config.image_encoder, config.device, config.captioner_batch)
        while batch := list(islice(images, config.captioner_batch)):
            captions += self._captioner.describe(batch)
        return caption_words(captions)

    @cached_property
    def _captioner(self) -> "Describes":
        config = self.config
        return load_captioner(
            config.captioner,
            config.captioner_revision,
            config.device,
            instruction=config.captioner_instruction,
            beams=config.captioner_beams,
            precision=config.captioner_precision,
        )

    def _images(self, keys: Sequence[str]) -> Iterator[Image.Image]:
        """Yield the stored images of these keys, RGB."""
        self.store.refresh()
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            found = {kept.key: kept.png for kept in self.store.read(some)}
            for key in some:
                yield Image.open(io.BytesIO(found[key])).convert("RGB")


def appearance(groups: Sequence[np.ndarray]) -> Appearance:
    """Return what candidates look like, from the features of their images.

    A feature is divided by its deviation within a candidate, pooled over all of them: what varies there (of a red star
    its size) says nothing of which candidate an image is like.

    Parameters
    ----------
    groups : sequence of numpy.ndarray
        Of each candidate (images, width), at least one image.
    """
    means = np.stack([group.mean(axis=0) for group in groups])
    within = sum(np.square(group - mean).sum(axis=0) for group, mean in zip(groups, means, strict=True))
    variance = np.asarray(within, dtype=np.float64) / sum(map(len, groups))
    if not (mean := float(variance.mean())):  # one image each
        return Appearance(means.astype(np.float32), np.ones(means.shape[1], dtype=np.float32))
    scale = ((1 - _SHRINKAGE) * variance + _SHRINKAGE * mean) ** -0.5
    scale = (scale / scale.max()).astype(np.float16).astype(np.float32)  # as it travels
    return Appearance((means * scale).astype(np.float32), scale)
