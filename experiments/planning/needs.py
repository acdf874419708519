"""What a run needs from outside this project: data, models, a device, extras.

Each need is met by the very function that a run calls. `look` calls it with the hub switched off, so that nothing is
downloaded; `fgl fetch` calls it with the hub. What one has fetched, the other and the run then find.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fgl_flower.cache import without_writing
from fgl_flower.config import (
    METHODS_WITHOUT_CLIENTS,
    DataConfig,
    MachineConfig,
    PromptConfig,
    RunConfig,
    SynthesisConfig,
)
from fgl_flower.data import worlds
from fgl_flower.data.sources import Source, load_source
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import CAPTIONER, DATASET, GENERATOR
from fgl_flower.foundation.captioner import check_captioner
from fgl_flower.foundation.miniature import NAMES
from fgl_flower.foundation.offline import not_cached, offline
from fgl_flower.levels.image_features import encoder_folder
from fgl_flower.levels.level import level_of
from fgl_flower.preflight import preflight
from fgl_flower.synthesis.generator_checks import check_generator

__all__ = ["Found", "Need", "look", "look_all", "needs_of"]


@dataclass(frozen=True)
class Need:
    """One thing that a run needs.

    Attributes
    ----------
    role : str
        "data", "generator", "captioner", "image-encoder", "model", "device" or "tensorboard".
    name : str
        As configured.
    load : callable
        What a run calls for it; raises a `ConfigError` if it cannot be had.
    remote : bool
        Whether the hub has it, so that it can be fetched.
    """

    role: str
    name: str
    load: Callable[[], Any]
    remote: bool = False


@dataclass(frozen=True)
class Found:
    """What has become of a need.

    Attributes
    ----------
    need : Need
    value : object
        What `need.load` returned, if it was called and had an answer.
    fault : str
        Why a run could not start, a sentence; empty: it could.
    remedy : str
        What to do about it; may be empty where the fault says it.
    note : str
        What is left to be done before it can be looked into; it stops no run.
    """

    need: Need
    value: Any = None
    fault: str = ""
    remedy: str = ""
    note: str = ""


def needs_of(config: RunConfig) -> list[Need]:
    """Return what a run needs, in the order in which it asks for it."""
    needs = []
    if config.tensorboard:
        needs.append(Need("tensorboard", "tensorboard", _tensorboard))
    needs.append(Need("device", config.device, lambda: _device(config)))
    needs.append(Need("data", config.dataset, lambda: load_source(config), _remote_data(config.dataset)))
    if config.draws:
        places = {config.generator, config.generator_lora, config.generator_config} - {"", *NAMES}
        remote = not GENERATOR.refers(config.generator) and any(map(_id, places))
        needs.append(Need("generator", config.generator, lambda: check_generator(config), remote))
        if "captioner" in level_of(config.prompt_level).models(config):
            remote = not CAPTIONER.refers(config.captioner) and config.captioner != "miniature"
            needs.append(
                Need(
                    "captioner",
                    config.captioner,
                    lambda: check_captioner(config.captioner, config.captioner_revision),
                    remote and _id(config.captioner),
                )
            )
        if "image-encoder" in level_of(config.prompt_level).models(config):
            encoder = config.image_encoder
            needs.append(Need("image-encoder", encoder, lambda: encoder_folder(encoder), _id(encoder)))
    kind, _, place = config.model.partition(":")
    if kind == "hub":
        needs.append(Need("model", config.model, lambda: _learner(config), _id(place)))
    return needs


def look(config: RunConfig, file: Path | str) -> list[Found]:
    """Return what this machine has of what a run needs; downloads nothing, writes nothing, asks no client.

    Where all is there the run's own preflight has the last word: what it refuses is the last item, of the role "run".

    Parameters
    ----------
    config : RunConfig
    file : Path or str
        The configuration's file, for the command that fetches.
    """
    with ExitStack() as stack:
        stack.enter_context(offline())
        stack.enter_context(without_writing())
        found = [_look(need, config, file) for need in needs_of(config)]
        if not any(item.fault or item.note for item in found):
            whole = Need("run", config.method, lambda: preflight(config))
            found.append(_look(whole, config, file))
        return found


def look_all(configs: Iterable[RunConfig], file: Path | str) -> list[Found]:
    """Return what `look` finds for several runs, each need and each fault once."""
    different = {_looked_at(config): config for config in configs}
    result: dict[tuple[str, str, str], Found] = {}
    for config in different.values():
        for found in look(config, file):
            result.setdefault(
                (found.need.role, "" if found.need.role == "run" else found.need.name, found.fault), found
            )
    faulty = {(role, name) for role, name, fault in result if fault}
    return [item for (role, name, fault), item in result.items() if fault or (role, name) not in faulty]


def _looked_at(config: RunConfig) -> tuple[object, ...]:
    """Return the keys that decide what a run needs: runs that differ in rates or rounds alone need the same."""
    parts = config.part(DataConfig), config.part(PromptConfig), config.part(SynthesisConfig), config.part(MachineConfig)
    return (
        *parts,
        config.draws,
        config.method in METHODS_WITHOUT_CLIENTS,
        *(config.model, config.model_revision, config.train, config.lora_rank),
        config.tensorboard,
    )


def source_in(found: Sequence[Found]) -> Source | None:
    """Return the data set, if it was found."""
    return next((item.value for item in found if item.need.role == "data" and isinstance(item.value, Source)), None)


def _look(need: Need, config: RunConfig, file: Path | str) -> Found:
    if need.role == "data" and config.dataset.startswith("hub:") and not _prepared(config):
        place = config.dataset.partition(":")[2]
        if Path(place).is_dir():
            return Found(need, note="the hub's library has not prepared its tables yet: the run will")
        if not need.remote:
            fault = f"dataset = {config.dataset!r}: there is no folder {place}"
            return Found(need, fault=fault, remedy=_remedy(need, config, fault))
        return Found(need, fault=f"the data set {place!r} is not cached on this machine", remedy=_fetch(file))
    try:
        return Found(need, need.load())
    except ConfigError as error:
        if need.remote and not_cached(error):
            return Found(
                need, fault=f"the {need.role} {need.name!r} is not cached on this machine", remedy=_fetch(file)
            )
        return Found(need, fault=str(error), remedy=_remedy(need, config, str(error)))


def _fetch(file: Path | str) -> str:
    return f"fgl fetch {file}"


def _remedy(need: Need, config: RunConfig, fault: str) -> str:
    if need.role == "data" and "there is no folder" in fault:
        kind = config.dataset.partition(":")[0]
        return f"put the images there, or name another place: --set dataset={kind}:PATH"
    return ""


def _remote_data(dataset: str) -> bool:
    """Return whether a data set is the hub's: by its id, or by a name that is enough where it is not drawn by code."""
    kind, _, place = dataset.partition(":")
    if DATASET.refers(dataset) or kind in {*worlds.KINDS, "nodes"}:
        return False
    return _id(place) if kind == "hub" else not place


def _id(place: str) -> bool:
    """Return whether a place is an id of the hub and no folder of this machine."""
    path = Path(place).expanduser()
    return not path.exists() and not path.is_absolute() and not place.startswith((".", "~"))


def _prepared(config: RunConfig) -> bool:
    """Return whether the hub's library has the tables of a data set ready, so that reading them writes nothing."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(config.dataset.partition(":")[2], config.dataset_config or None)
        return Path(builder.cache_dir).is_dir()
    except Exception:  # the library raises a dozen kinds; a run, or fgl fetch, tells which
        return False


def _tensorboard() -> None:
    if find_spec("tensorboard") is None:
        raise ConfigError("tensorboard = true needs an extra: pip install 'fgl-flower[tensorboard]'")


def _device(config: RunConfig) -> Any:
    from fgl_flower.device import resolve_device

    return resolve_device(config.device)


def _learner(config: RunConfig) -> Any:
    from fgl_flower.learning.building import learner

    return learner(config, max(2, len(config.class_names)))
