"""What a prompt level may see of a client: its images with their classes and domains, and captions on demand."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fgl_flower.config import RunConfig
from fgl_flower.data.decoding import open_image
from fgl_flower.data.rows import Rows
from fgl_flower.wire.payload import Prompt

if TYPE_CHECKING:
    import datasets

Captioner = Callable[["datasets.Dataset"], Sequence[str]]
"""From images, as a data set, to a scrubbed caption of each."""


class Holdings:
    """A client's readable images.

    Parameters
    ----------
    dataset : datasets.Dataset or Rows
        Columns image, label and domain.
    classes, domains : sequence of str
        The federation's names.
    config : RunConfig
    partition_id : int
        The client's number, 0 to clients - 1.
    captioner : callable, optional
        Captions the images of a data set; only levels that need a captioner call it.
    unnamed : collection of str
        Classes whose names stay out of prompts made of captions.
    """

    def __init__(
        self,
        dataset: "datasets.Dataset | Rows",
        classes: Sequence[str],
        domains: Sequence[str],
        config: RunConfig,
        partition_id: int = 0,
        captioner: Captioner | None = None,
        unnamed: Collection[str] = (),
    ) -> None:
        self.rows = dataset if isinstance(dataset, Rows) else Rows.of(dataset)
        self.classes = classes
        self.domains = domains
        self.config = config
        self.partition_id = partition_id
        self.unnamed = frozenset(unnamed)
        self._captioner = captioner

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dataset(self) -> "datasets.Dataset":
        """The images as a data set."""
        return self.rows.dataset

    @cached_property
    def labels(self) -> list[str]:
        """Class of each image."""
        return [self.classes[i] for i in self.rows.labels.tolist()]

    @cached_property
    def image_domains(self) -> list[str]:
        """Domain of each image; empty where it is unknown."""
        return [self.domains[i] if i >= 0 else "" for i in self.rows.domains.tolist()]

    def images(self) -> Iterator[Image.Image]:
        """Yield the images, upright RGB, one in memory at a time."""
        for record in self.rows.records():
            yield open_image(record)

    def captions(self) -> Sequence[str]:
        """Return a scrubbed caption of each image."""
        if self._captioner is None:
            raise TypeError("these holdings have no captioner: give one, or use a level that needs none")
        return self._captioner(self.dataset)

    def select(self, positions: Sequence[int]) -> "Holdings":
        """Return the images at these positions."""
        return Holdings(
            self.rows.select(positions),
            self.classes,
            self.domains,
            self.config,
            self.partition_id,
            self._captioner,
            self.unnamed,
        )

    def under(self, config: RunConfig) -> "Holdings":
        """Return the same images under another configuration."""
        return Holdings(self.rows, self.classes, self.domains, config, self.partition_id, self._captioner, self.unnamed)

    def of_classes(self, names: Collection[str]) -> "Holdings":
        """Return the images of these classes."""
        return self.select([i for i, label in enumerate(self.labels) if label in names])

    def chosen(self) -> "Holdings":
        """Return all images, or `max-captions` of them, evenly of every class and domain."""
        return self if len(self) <= self.config.max_captions else self.select(self.evenly())

    def evenly(self) -> list[int]:
        """Return the positions of `max-captions` images at most, evenly of every class and domain."""
        most = self.config.max_captions
        if len(self) <= most:
            return list(range(len(self)))
        rng = np.random.default_rng(self.config.seed)
        order = rng.permutation(len(self))
        groups = zip(self.rows.labels[order].tolist(), self.rows.domains[order].tolist(), strict=True)
        seen: Counter[tuple[int, int]] = Counter()
        turns = []
        for group in groups:
            turns.append(seen[group])
            seen[group] += 1
        return np.sort(order[np.argsort(turns, kind="stable")[:most]]).tolist()


def counted(texts: Sequence[str], labels: Sequence[str], domains: Sequence[str]) -> tuple[Prompt, ...]:
    """Return the different prompts with the number of images behind each, sorted."""
    rows = Counter(zip(texts, labels, domains, strict=True))
    return tuple(sorted(Prompt(*row, count=n) for row, n in rows.items()))
