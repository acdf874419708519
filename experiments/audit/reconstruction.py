"""Reconstruction: a prompt is drawn by the run's generator. Is that more like the image it stands for than like others?

The others are private images of any client of the same class and style, which prompts name anyway: what is measured is
what captions, embeddings and tokens say beyond these names. Likeness is measured by an image encoder and, as the run's
own may favour what it has captioned, by SSIM, in which no model has a say.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.stats import beta

from clients.holdings import holdings
from experiments.audit.answers import Answer
from experiments.audit.looks import MOST_SIDE, Looks, looks_of, readable_images
from experiments.audit.neighbours import unit
from experiments.audit.perceptual import ssim_distance
from fgl_flower.config import RunConfig
from fgl_flower.data.rows import Rows
from fgl_flower.data.sources import load_source
from fgl_flower.errors import ConfigError
from fgl_flower.foundation.image_encoder import ImageEncoder
from fgl_flower.levels.level import Description, level_of
from fgl_flower.levels.offers import own_name
from fgl_flower.synthesis.engines import engine_for
from fgl_flower.synthesis.plan import plan_of
from fgl_flower.synthesis.settings import settings_for
from fgl_flower.synthesis.store import SyntheticStore

__all__ = ["Rebuilt", "nothing_to_rebuild", "rebuild"]

_OTHERS = 20  # private images that each one is told from, at most

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rebuilt:
    """How like the images are that were drawn from what a client sent.

    Attributes
    ----------
    client : int or None
        None: all clients together.
    images : int
        Private images that were drawn again.
    own, other : float
        Mean cosine of the drawing and its image, and of the drawing and others of the same class and style; embeddings
        less their mean.
    auc : float
        Mean over the images of how often the drawing is more like its own image than like another; 0.5 is chance.
    low, high : float
        95 % interval over images, by Clopper and Pearson's formula: wider than needed, as an image counts in part.
    ssim : float
        The same as `auc` by SSIM of small versions.
    """

    client: int | None
    images: int
    own: float
    other: float
    auc: float
    low: float
    high: float
    ssim: float


class _Score(NamedTuple):
    """How like an image's drawing is to it and to others, as cosines, and how often it is nearer to it than to one."""

    client: int
    own: float
    other: float
    nearer: float
    nearer_by_ssim: float


@dataclass(frozen=True)
class _Target:
    """A private image (its position among all), with the prompt that stands for it as the plan names it."""

    client: int
    image: int
    prompt: tuple[str, str, str]  # text or name of an embedding, class, domain


def nothing_to_rebuild(config: RunConfig, answers: Sequence[Answer]) -> str:
    """Return why there is nothing to draw again, "" if there is."""
    name = _level(config, answers)
    if not level_of(name).asks_clients:
        return f"prompt-level = {name!r}: clients send nothing, so nothing of theirs can be drawn again"
    answer = next((answer for answer in answers if answer.payload.prompts), None)
    if answer is None or _standing(answer, name)[1] is None:
        return (
            f"prompt-level = {name!r}: its prompts stand for classes and styles and none for an image, "
            "so there is no image to draw again"
        )
    return ""


def rebuild(
    config: RunConfig,
    answers: Sequence[Answer],
    count: int,
    encoder: ImageEncoder,
    watch: Watch = lambda phase, done, total: None,
) -> list[Rebuilt]:
    """Draw what stands for some images of each client; return a row a client, and one for all of them last.

    Parameters
    ----------
    config : RunConfig
        Of a simulation, at a level whose prompts stand for images; see `nothing_to_rebuild`.
    answers : sequence of Answer
    count : int
        Images of each client, at most, drawn by lot from the run's seed.
    encoder : ImageEncoder
    watch : callable
        Told of (phase, done, total).

    Raises
    ------
    ConfigError
        If no image is left that a prompt stands for and that has another of its class and style beside it.
    """
    rng = np.random.default_rng(config.seed)
    private, embeddings = Rows.of(load_source(config).private), _embeddings(config, answers)
    level = _level(config, answers)
    targets = [target for answer in answers for target in _targets(answer, level, embeddings, count, rng)]
    others = {target.image: _others(private, target.image, rng) for target in targets}
    targets = [target for target in targets if len(others[target.image])]
    drawn, drawings = _drawn(config, embeddings, targets, encoder, watch)
    needed = np.unique([*others, *(i for chosen in others.values() for i in chosen.tolist())]).astype(np.int64)
    kept: list[int] = []
    looks = looks_of(
        readable_images([private.select(needed)], kept),
        len(needed),
        encoder,
        MOST_SIDE,
        lambda *at: watch("private images", *at),
    )
    centre = looks.embeddings.mean(0) if len(looks) else None
    private_units, drawn_units = unit(looks.embeddings, centre), unit(drawings.embeddings, centre)
    seen = dict(zip(needed[kept].tolist(), range(len(kept)), strict=True))
    scores: list[_Score] = []
    for target in targets:
        rivals = [seen[i] for i in others[target.image].tolist() if i in seen]
        if target.prompt not in drawn or target.image not in seen or not rivals:
            continue
        compared, drawing = [seen[target.image], *rivals], drawn[target.prompt]
        cosines = private_units[compared] @ drawn_units[drawing]
        pair = np.repeat(drawings.small[drawing][None], len(compared), axis=0)
        likeness = -ssim_distance(looks.small[compared], pair)
        own, other = float(cosines[0]), float(cosines[1:].mean())
        scores.append(_Score(target.client, own, other, _nearer(cosines), _nearer(likeness)))
    if not scores:
        raise ConfigError("no client has an image that a prompt stands for, with others of its class and style")
    clients = list(dict.fromkeys(score.client for score in scores))
    return [_summed(one, [s for s in scores if s.client == one]) for one in clients] + [_summed(None, scores)]


def _nearer(likeness: np.ndarray) -> float:
    """Return how often the first is more like the drawing than one of the rest; ties count half."""
    own, rest = likeness[0], likeness[1:]
    return float(((own > rest) + 0.5 * (own == rest)).mean())


def _summed(client: int | None, scores: Sequence[_Score]) -> Rebuilt:
    own, other = (float(np.mean([getattr(score, name) for score in scores])) for name in ("own", "other"))
    hits, count = sum(score.nearer for score in scores), len(scores)
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    ssim = float(np.mean([score.nearer_by_ssim for score in scores]))
    return Rebuilt(client, count, own, other, hits / count, low, high, ssim)


def _standing(answer: Answer, name: str) -> tuple[Rows, list[str] | None]:
    """Return a client's images that its prompts may stand for, and the text of the prompt of each."""
    held = holdings(answer.client, answer.question.unnamed).chosen()
    description = Description(answer.payload.prompts, answer.payload.arrays)
    return held.rows, level_of(name).stands_for(held, description)


def _targets(
    answer: Answer, level: str, embeddings: Mapping[str, np.ndarray], count: int, rng: np.random.Generator
) -> list[_Target]:
    """Return some of a client's images, by lot, of those whose prompt is sent and can be drawn."""
    payload = answer.payload
    if not payload.prompts:
        return []
    rows, texts = _standing(answer, level)
    assert texts is not None
    source = answer.client.source
    sent: dict[tuple[str, str], list[str]] = {}
    for prompt in payload.prompts:
        sent.setdefault((prompt.label, prompt.text), []).append(prompt.domain)
    result: list[_Target] = []
    for i in rng.permutation(len(texts)).tolist():
        label, style = source.classes[rows.labels[i]], source.domains[rows.domains[i]] if rows.domains[i] >= 0 else ""
        domains = sent.get((label, texts[i]), [])  # what does not fit into a message is not sent
        domain = style if style in domains else next(iter(domains), None)
        named = own_name(texts[i], payload) if own_name(texts[i], payload) in embeddings else texts[i]
        drawable = named in embeddings or not any(token in named for token in payload.arrays)
        if domain is not None and drawable and len(result) < count:
            result.append(_Target(answer.client.partition_id, int(rows.index[i]), (named, label, domain)))
    return result


def _others(private: Rows, image: int, rng: np.random.Generator) -> np.ndarray:
    """Return some other images of the same class and domain, by lot."""
    alike = (private.labels == private.labels[image]) & (private.domains == private.domains[image])
    alike[image] = False
    return rng.permutation(np.flatnonzero(alike))[:_OTHERS]


def _drawn(
    config: RunConfig,
    embeddings: Mapping[str, np.ndarray],
    targets: Sequence[_Target],
    encoder: ImageEncoder,
    watch: Watch,
) -> tuple[dict[tuple[str, str, str], int], Looks]:
    """Return one drawing of each prompt, by its position; of those that the safety checker blanks none."""
    prompts = list(dict.fromkeys(target.prompt for target in targets))
    plan = plan_of([(*prompt, 1) for prompt in prompts], settings_for(config), config.seed, embeddings)
    with tempfile.TemporaryDirectory() as folder:  # they are nobody's training images
        store = SyntheticStore(folder)
        engine_for(config).fill(plan, store, lambda *at: watch("drawing", *at))
        pixels = {image.key: image.pixels() for image in store.read(set(plan.keys) & set(store.keys()))}
    at = [i for i, key in enumerate(plan.keys) if key in pixels]
    images = (Image.fromarray(pixels[plan.keys[i]]) for i in at)
    looks = looks_of(images, len(at), encoder, MOST_SIDE, lambda *n: watch("drawn images", *n))
    return {prompts[i]: position for position, i in enumerate(at)}, looks


def _level(config: RunConfig, answers: Sequence[Answer]) -> str:
    return answers[0].question.level or config.prompt_level


def _embeddings(config: RunConfig, answers: Sequence[Answer]) -> Mapping[str, np.ndarray]:
    """Return what the server draws from in place of texts, by the names of its plan."""
    level = level_of(_level(config, answers))
    payloads = [answer.payload for answer in answers if answer.payload.prompts]
    if level.kind == "text":
        return {}
    return level.offer(payloads, config, load_source(config).classes).embeddings
