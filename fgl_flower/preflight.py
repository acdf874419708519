"""Look for data and weights before anything is written or drawn."""

import os
import socket
from contextlib import suppress
from importlib.util import find_spec
from itertools import product

import numpy as np

from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.data.decoding import pictures
from fgl_flower.data.partition import partition
from fgl_flower.data.rows import Rows, column
from fgl_flower.data.sources import Source, load_source
from fgl_flower.device import resolve_device
from fgl_flower.errors import ConfigError, DataError
from fgl_flower.foundation.captioner import check_captioner
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.text import tokenizer_of
from fgl_flower.foundation.truncation import truncation_for
from fgl_flower.learning.checks import check_learner
from fgl_flower.levels.level import level_of
from fgl_flower.levels.templates import fill
from fgl_flower.privacy.checks import check_promise
from fgl_flower.synthesis.generator_checks import check_generator
from fgl_flower.wire.codec import texts_fault
from fgl_flower.wire.limits import Limits
from fgl_flower.wire.unicode_checks import name_fault


def preflight(config: RunConfig, *, divided: bool = True) -> None:
    """Make sure that the data set, the models and the extras of a run are there, and that the data can be divided.

    Parameters
    ----------
    config : RunConfig
    divided : bool
        Whether the clients' shares come from this machine's data set; in a deployment each client has its own.

    Raises
    ------
    ConfigError
        With one sentence that names what is missing: a `DataError`, a `ModelError`, or an extra that is not installed.
    """
    if config.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError("tensorboard = true needs an extra: pip install 'fgl-flower[tensorboard]'")
    if config.device != "auto":
        resolve_device(config.device)  # imports torch, for those who name a device
    if divided and config.dataset == "nodes":
        raise ConfigError(
            "dataset = 'nodes': only in a deployment do nodes have data of their own (docs/nodes.md); a simulation "
            "divides a data set of this machine"
        )
    source = load_source(config)
    _check_images(config, source, divided=divided)
    if config.draws:
        _check_names(config, source)
    if divided and config.method not in METHODS_WITHOUT_CLIENTS:
        partition(source.private, config)
    if config.model.startswith("hub:") or config.train != "all":
        check_learner(config, source.classes)
    if config.dp_epsilon:
        check_promise(config, source, divided=divided)
    if config.draws:
        level = level_of(config.prompt_level)
        check_generator(config)
        if "captioner" in level.models(config):
            check_captioner(config.captioner, config.captioner_revision)
        level.check(config, source.classes, source.domains)
        if config.synthesis_engine == "ray":
            _check_ray(config.ray_address or os.environ.get("RAY_ADDRESS", ""))


def _check_images(config: RunConfig, source: Source, *, divided: bool) -> None:
    """Refuse a data set of one class, and splits of which no image can be read."""
    shown = np.unique(column(source.private, "label")).tolist()
    if len(shown) < 2 and (divided or len(source.private)):
        notes = "".join(f"; {note}" for note in source.notes)
        raise DataError(
            f"dataset = {config.dataset!r} has one class, {source.classes[shown[0]]!r}: nothing to tell apart{notes}"
        )
    splits = {"validation": source.validation, "test": source.test} | ({"private": source.private} if divided else {})
    for split, dataset in splits.items():
        if not divided and not len(dataset):
            continue  # a server need not have any
        first = ""
        for picture in pictures(Rows.of(dataset).stream()):
            if not isinstance(picture, DataError):
                break
            first = first or str(picture)
        else:
            raise DataError(f"none of the {len(dataset)} {split} images can be read; the first: {first}")


def _check_names(config: RunConfig, source: Source) -> None:
    """Refuse names of which no prompt can be made that the server would take from a client."""
    for kind, names in (("class", source.classes), ("domain", source.domains)):
        for name in names:
            if why := name_fault(name):
                raise DataError(f"the {kind} name {_short(name)} cannot be used: {why}")
    both = (*source.classes, *source.domains)
    prompts: list[tuple[str, str]] = []
    for key, template in level_of(config.prompt_level).templates(config).items():
        for name, domain in product(source.classes, source.domains if "{style" in template else [""]):
            prompt = fill(template, name, domain, "image")  # an instance-template may be '{caption}' alone
            prompts.append((prompt, name))
            if why := texts_fault([prompt], _limits(config, prompt), both):
                raise DataError(f"{key} with the class {_short(name)} makes a prompt that is refused: {why}")
    if level_of(config.prompt_level).kind == "text":
        truncation, tokens = truncation_for(config, prompts)
        if truncation and truncation.clash:
            raise ConfigError(truncation.sentence(tokens))


def _limits(config: RunConfig, prompt: str) -> Limits:
    """Return the bounds of a prompt; the tokens of a long one are counted by the generator's own tokenizer."""
    if len(prompt.encode()) + 2 > Limits.prompt_tokens:  # of fewer bytes no tokenizer makes as many tokens
        with suppress(ConfigError):  # it has no tokenizer of CLIP's kind
            return Limits(count_tokens=tokenizer_of(Origin.configured(config)).count)
    return Limits()


def _short(name: str) -> str:
    return ascii(name if len(name) <= 40 else name[:40] + "...")


def _check_ray(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself would try for twelve minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", "local" or none: Ray finds or starts one
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"ray-address (or RAY_ADDRESS) = {address!r}: nobody answers there ({error}); is the cluster running?"
        ) from None
