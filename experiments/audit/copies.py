"""Does what a run drew repeat private images? The nearest private image against the nearest one nobody trained on.

Held-out images are of the same kind as private ones, and the run has never seen them: what is drawn without knowledge
of any single private image is as near to these as to those. A small distance to a private image does not say that its
membership can be told, nor does a large one say that it cannot (arXiv 2505.01524).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.audit.distances import Distances, same_mix
from experiments.audit.looks import MOST_SIDE, Looks, looks_of, readable_images
from experiments.audit.neighbours import nearest, unit
from experiments.audit.perceptual import Thumbnails, nearest_by_ssim
from fgl_flower.config import RunConfig
from fgl_flower.data.rows import Rows
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.captioner import load_captioner
from fgl_flower.foundation.image_encoder import ImageEncoder
from fgl_flower.records.fingerprint import data_fingerprint
from fgl_flower.records.reading import Run
from fgl_flower.synthesis.store import SyntheticStore

__all__ = ["Compared", "compare", "encoder_of", "examine"]

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Compared:
    """What the audit found.

    Attributes
    ----------
    encoder : str
        Its name.
    images : dict of str to Looks
        "synthetic", "private" (all), "compared" and "held out": as many of the one as of the other, class by class.
    distances : tuple of Distances
        By embedding and by 1 - SSIM.
    suspects : numpy.ndarray
        (N,) int64: the synthetic images, most suspicious first.
    nearest_private : tuple of numpy.ndarray
        By each distance the nearest of all private images, (N,) int64.
    prompts : sequence of str
        Of each synthetic image.
    """

    encoder: str
    images: dict[str, Looks]
    distances: tuple[Distances, Distances]
    suspects: np.ndarray
    nearest_private: tuple[np.ndarray, np.ndarray]
    prompts: tuple[str, ...] = ()


def encoder_of(config: RunConfig, name: str = "") -> ImageEncoder:
    """Return the image encoder of this name, else the vision tower of the run's captioner.

    Raises
    ------
    ModelError
        If it cannot be loaded.
    """
    if name:
        return ImageEncoder.load(name, config.device)
    captioner = load_captioner(
        config.captioner, config.captioner_revision, config.device, precision=config.captioner_precision
    )
    return ImageEncoder.of_captioner(captioner, config.captioner)


def examine(run: Run, encoder: str = "", watch: Watch = lambda phase, done, total: None) -> Compared:
    """Compare all images that a finished run has trained on with private and held-out images.

    Parameters
    ----------
    run : Run
        Of a simulation, whose private images are at hand.
    encoder : str
        See `encoder_of`.
    watch : callable
        Told of (phase, done, total).

    Raises
    ------
    ConfigError
        If the run drew nothing, its images or its data are not at hand, or its encoder cannot be had.
    """
    config, keys, store = run.config, _keys(run), _store(run.config)
    if missing := len(store.missing(keys)):
        raise ConfigError(
            f"{missing:,} of {len(keys):,} images of {run.name} are no longer in the store {store.path}: "
            f"fgl run {run.path / 'config.toml'} draws them again"
        )
    if run.result is not None and run.result.data_fingerprint not in {"", data_fingerprint(config.dataset)}:
        raise ConfigError(f"the data of {run.name} have changed since it ran: run it again")
    model, source, side = encoder_of(config, encoder), load_source(config), min(config.image_size, MOST_SIDE)
    prompts: list[str] = []

    def drawn() -> Iterator[Image.Image]:
        for image in store.read(keys):  # in the order of the store, each once
            prompts.append(image.prompt)
            yield Image.fromarray(image.pixels())

    def read(splits: Sequence[Rows], phase: str) -> tuple[Looks, np.ndarray]:
        kept: list[int] = []
        count, labels = sum(map(len, splits)), np.concatenate([split.labels for split in splits])
        looks = looks_of(readable_images(splits, kept), count, model, side, lambda *at: watch(phase, *at))
        return looks, labels[kept]

    synthetic = looks_of(drawn(), len(keys), model, side, lambda *at: watch("synthetic images", *at))
    private, labels = read([Rows.of(source.private)], "private images")
    held_out, held_labels = read(_held_out(source, labels), "held-out images")
    return compare(synthetic, private, labels, held_out, held_labels, model.name, tuple(prompts), watch)


def compare(
    synthetic: Looks,
    private: Looks,
    labels: np.ndarray,
    held_out: Looks,
    held_labels: np.ndarray,
    encoder: str,
    prompts: tuple[str, ...] = (),
    watch: Watch = lambda phase, done, total: None,
) -> Compared:
    """Compare images: (n,) int64 `labels` are classes of the private images, `held_labels` of those held out.

    Raises
    ------
    ConfigError
        If no class has private and held-out images.
    """
    ours, theirs = same_mix([labels, held_labels])
    if not len(ours):
        raise ConfigError(
            "no class has both private and held-out images (validation, test): there is nothing to compare"
        )
    compared, others = private.select(ours), held_out.select(theirs)
    rest = np.setdiff1d(np.arange(len(private)), ours)  # where too few are held out of a class
    parts = (synthetic, compared, others, private.select(rest))
    centre = np.concatenate([compared.embeddings, others.embeddings]).mean(0)  # what all images share tells nothing
    measures = (
        _measured(
            "embedding", [unit(one.embeddings, centre) for one in parts], _by_embedding, ours, rest, labels, watch
        ),
        _measured("1 - SSIM", [Thumbnails(one.small) for one in parts], nearest_by_ssim, ours, rest, labels, watch),
    )
    distances = (measures[0][0], measures[1][0])
    scores = [np.minimum(d.private, to_rest) / d.held_out.clip(1e-12) for d, _, to_rest in measures]
    return Compared(
        encoder,
        {"synthetic": synthetic, "private": private, "compared": compared, "held out": others},
        distances,
        np.argsort(scores[0] * scores[1], kind="stable"),
        (measures[0][1], measures[1][1]),
        prompts,
    )


def _measured(
    name: str,
    parts: list[Any],
    find: Callable[[Any, Any, Callable[[int, int], None]], tuple[np.ndarray, np.ndarray]],
    ours: np.ndarray,
    rest: np.ndarray,
    labels: np.ndarray,
    watch: Watch,
) -> tuple[Distances, np.ndarray, np.ndarray]:
    """Return distances, the nearest of all private images, and the distances to those that are not compared."""
    drawn, compared, others, left = parts
    private, private_at = find(drawn, compared, lambda *n: watch(f"private, {name}", *n))
    held_out, held_out_at = find(drawn, others, lambda *n: watch(f"held out, {name}", *n))
    distances = Distances(name, private, held_out, private_at, held_out_at, labels[ours])
    if not len(rest):
        return distances, ours[private_at], np.full(len(private), np.inf)
    to_rest, rest_at = find(drawn, left, lambda *n: watch(f"further private, {name}", *n))
    return distances, np.where(to_rest < private, rest[rest_at], ours[private_at]), to_rest


def _by_embedding(
    queries: np.ndarray, references: np.ndarray, watch: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    at = nearest(queries, references, 1, watch)[:, 0]
    return np.linalg.norm(queries.astype(np.float64) - references[at], axis=1), at


def _keys(run: Run) -> list[str]:
    if run.result is None:
        raise ConfigError(f"{run.name} is not finished: it has no result.json")
    if not run.result.synthetic_images:
        raise ConfigError(f"{run.name} drew no images (method = {run.config.method!r}): there is nothing to compare")
    file = run.path / "synthetic.txt"
    if not file.is_file():
        raise ConfigError(
            f"{run.name} does not say which images of its store it trained on (synthetic.txt), as it was made by an "
            f"earlier version: fgl run {run.path / 'config.toml'} runs it again, with the images that are drawn"
        )
    return file.read_text(encoding="utf-8").split()


def _store(config: RunConfig) -> SyntheticStore:
    if config.dataset == "nodes":
        raise ConfigError(
            "the private images lie on the nodes: copies are found where they are at hand, in a simulation"
        )
    return SyntheticStore(Path(config.store_dir or Path(config.runs_dir) / "store").expanduser())


def _held_out(source: Source, labels: np.ndarray) -> list[Rows]:
    """Return validation and test images: of each class as many as there are private ones, or all that there are."""
    splits = [Rows.of(source.validation), Rows.of(source.test)]
    together = np.concatenate([split.labels for split in splits])
    _, chosen = same_mix([labels, together])
    first = len(splits[0])
    return [splits[0].select(chosen[chosen < first]), splits[1].select(chosen[chosen >= first] - first)]
