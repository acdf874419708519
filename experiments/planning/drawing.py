"""The images that a run would draw, as far as they can be told without asking a client."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.planning.figures import Figure, Sign
from experiments.planning.work import class_count
from fgl_flower.config import RunConfig
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import Source
from fgl_flower.errors import ConfigError, RunError, StoreError
from fgl_flower.foundation.generator import GeneratorCard, inspect
from fgl_flower.foundation.origin import Origin
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import level_of
from fgl_flower.synthesis.settings import SamplingSettings, settings_for
from fgl_flower.synthesis.space import free_bytes, needed_bytes
from fgl_flower.synthesis.store import SyntheticStore
from fgl_flower.wire.payload import PromptPayload

if TYPE_CHECKING:
    from fgl_flower.synthesis.plan import SynthesisPlan

_BY_NAMES = frozenset({"names", "class", "class-style"})  # levels whose prompts follow from labels alone
_MOST_PLANNED = 2_000_000  # images whose keys are compared with the store's, a few microseconds each
_MOST_LABELS = 500_000  # private images whose labels are read


@dataclass(frozen=True)
class Drawing:
    """What a run would draw.

    Attributes
    ----------
    planned : int or None
        Images of the training set; None: unknown.
    missing : int or None
        Of these, the ones that the store lacks.
    settings : SamplingSettings or None
    store : SyntheticStore or None
    payloads : tuple of PromptPayload
        What clients would send, where names and labels tell; else empty.
    figures : tuple of Figure
    """

    planned: int | None
    missing: int | None = None
    settings: SamplingSettings | None = None
    store: SyntheticStore | None = None
    payloads: tuple[PromptPayload, ...] = ()
    figures: tuple[Figure, ...] = ()


def drawing_of(config: RunConfig, source: Source | None, *, generator: bool) -> Drawing:
    """Return what a run would draw; reads labels and the store, opens no image and asks no client.

    Parameters
    ----------
    config : RunConfig
    source : Source or None
        The data set, if it is here.
    generator : bool
        Whether the generator is here.
    """
    if not config.draws:
        return Drawing(0)
    settings, store, why = None, None, "the generator is not here"
    if generator:
        settings = settings_for(config)
        try:
            store = SyntheticStore(store_path(config))
        except StoreError as error:
            why = str(error)
    payloads = _payloads(config, source) if source else ()
    plan = _plan(config, source, payloads) if source and generator and payloads else None
    planned = budget(config, source) if plan is None else len(plan)
    if plan is not None:
        basis = "the plan for what names and labels say: clients send nothing else at this level"
    elif planned is None:
        basis = "images-per-class times the classes, which are the data set's"
    else:
        basis = "images-per-class times the classes: which prompts they are drawn from, clients will say"
    figures = [Figure("images", "training set", planned, "images", basis, "" if plan is not None else "at most")]
    if config.prompt_level == "auto":
        figures[0] = replace(figures[0], basis=basis + "; of classes that do badly others are drawn anew", sign="about")
    if config.prompt_level == "votes":
        figures.append(_candidates(config, source))
    missing, told = None, why
    if store is not None and plan is not None and len(plan) <= _MOST_PLANNED:
        missing, told = len(store.missing(plan.keys)), f"compared with the keys in {store.path}"
    elif store is not None and not len(store):
        missing, told = planned, f"the store {store.path} is empty"
    elif store is not None:
        told = "which of them the store holds, only the prompts tell: fgl plan asks the clients"
    figures.append(Figure("images", "still to be drawn", missing, "images", told, figures[0].sign if missing else ""))
    return Drawing(
        planned, missing, settings, store, payloads, (*figures, *_disk(config, planned, missing, settings, store))
    )


def card_of(config: RunConfig) -> GeneratorCard:
    """Return what identifies a run's generator, which is here."""
    return inspect(Origin.configured(config))


def store_path(config: RunConfig) -> Path:
    """Return where a run keeps its images."""
    return Path(config.store_dir or Path(config.runs_dir) / "store").expanduser()


def budget(config: RunConfig, source: Source | None) -> int | None:
    """Return how many images a run may draw at most; None where the number of classes is unknown."""
    if not (classes := class_count(config, source)):
        return None
    planned = config.images_per_class * classes
    if config.max_client_images and config.prompt_level != "names":
        planned = min(planned, config.max_client_images * config.clients)
    return planned


def _payloads(config: RunConfig, source: Source) -> tuple[PromptPayload, ...]:
    """Return what clients would say at a level that takes names and labels alone; empty at others."""
    if config.prompt_level not in _BY_NAMES or config.max_client_bytes or config.dataset == "nodes":
        return ()
    level = level_of(config.prompt_level)
    if not level.asks_clients:
        return tuple(PromptPayload(client) for client in range(config.clients))
    if len(source.private) > _MOST_LABELS:
        return ()
    try:
        shares = partition(source.private, config)
    except ConfigError:  # told by the run's preflight
        return ()
    payloads = []
    for client in range(config.clients):
        held = Holdings(shares.rows(client), source.classes, source.domains, config, client)
        if not len(held):
            payloads.append(PromptPayload(client))
            continue
        counts = {name: held.labels.count(name) for name in sorted(set(held.labels))}
        payloads.append(PromptPayload(client, level.describe(held).prompts, counts, kind=level.kind))
    return tuple(payloads)


def _plan(config: RunConfig, source: Source, payloads: tuple[PromptPayload, ...]) -> "SynthesisPlan | None":
    from strategies.planning import plan_for

    try:
        return plan_for(config, source.classes, payloads)
    except (ConfigError, RunError):
        return None


def _candidates(config: RunConfig, source: Source | None) -> Figure:
    name = "candidates to vote on"
    if not (classes := class_count(config, source)):
        return Figure.unknown("images", name, "images", "needs the data set")
    most = classes * config.vote_candidates * config.vote_images * config.vote_rounds
    basis = "vote-images of vote-candidates a class in each of vote-rounds; those that classes share are drawn once"
    return Figure("images", name, most, "images", basis, "at most")


def _disk(
    config: RunConfig,
    planned: int | None,
    missing: int | None,
    settings: SamplingSettings | None,
    store: SyntheticStore | None,
) -> list[Figure]:
    free = free_bytes(store_path(config))
    figures = [Figure("disk", "free where the store lies", free, "bytes", str(store_path(config)))]
    if planned is None or settings is None or store is None:
        return [Figure.unknown("disk", "new images in the store", "bytes", "needs data and generator"), *figures]
    new = planned if missing is None else missing
    each = _bytes_per_pixel(store, settings)
    if each:
        size = new * settings.stored_size**2 * each
        basis = f"{each:.2f} bytes a pixel, as those of these settings in the store"
    else:
        size = needed_bytes(new + len(store), settings, config.image_size, store)
        basis = "1 byte a pixel, what drawn images take at least (to 2.5)"
    basis += f", at {settings.stored_size} px"
    sign: Sign = "about" if each else "at least"
    return [Figure("disk", "new images in the store", size, "bytes", basis, sign), *figures]


def _bytes_per_pixel(store: SyntheticStore, settings: SamplingSettings) -> float | None:
    """Return what stored images of these settings take on disk; None where the first shards hold none."""
    from fgl_flower.synthesis.shards import read_shard, shard_folder, shard_names

    wanted, images, size = settings.to_json(), 0, 0
    for name in shard_names(store.path)[:8]:
        of_shard = read_shard(store.path, name, ["settings"]).column("settings").to_pylist()
        if of_shard and set(of_shard) == {wanted}:
            images += len(of_shard)
            size += (shard_folder(store.path) / name).stat().st_size
    return size / images / settings.stored_size**2 if images else None
