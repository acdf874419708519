"""Every choice that users may extend, with its built-in names: docs/extending.md explains each and has an example.

The objects are named, not imported: they lie in all packages, and only those that a run needs are loaded.
"""

import inspect
from typing import Any

from fgl_flower.extension import ExtensionPoint, called_with, with_members

LEVEL_MEMBERS = ("kind", "client_models", "describe", "offer")
"""What a prompt level has, see `fgl_flower.levels.level.Level`."""


def _strategy(candidate: Any) -> str:
    """A class derived from Flower's `Strategy`, or a function from the configuration to a strategy."""
    if inspect.isclass(candidate) and not is_strategy_class(candidate):
        return "it is a class that does not derive from flwr.serverapp.strategy.Strategy"
    return "" if inspect.isclass(candidate) else called_with("config")(candidate)


def _method(candidate: Any) -> str:
    """A class derived from Flower's `Strategy`, or a function from the server to an `Outcome`."""
    return _strategy(candidate) if inspect.isclass(candidate) else called_with("server")(candidate)


def is_strategy_class(candidate: Any) -> bool:
    """Return whether an object is a class derived from Flower's `Strategy`."""
    from flwr.serverapp.strategy import Strategy  # half a second to import: only for those who bring a class

    return inspect.isclass(candidate) and issubclass(candidate, Strategy)


_FEDERATED = ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "moon")
_STRATEGIES = {name: f"strategies.federated:{name}" for name in _FEDERATED}

WRAPPED = ExtensionPoint("wrapped", _STRATEGIES, _strategy)
METHOD = ExtensionPoint(
    "method",
    {
        "fgl": "strategies.generative:fgl",
        "mixed": "strategies.generative:mixed",
        **_STRATEGIES,
        "local": "strategies.local:local",
        "centralised": "strategies.centralised:centralised",
        "zero-shot": "strategies.zero_shot:zero_shot",
    },
    _method,
)


def is_strategy(method: str) -> bool:
    """Return whether a method is a Flower strategy, built-in or a class of the user's own."""
    return method in _STRATEGIES or (METHOD.refers(method) and is_strategy_class(METHOD.load(method)))


def has_server_optimiser(strategy: str) -> bool:
    """Return whether the server of a strategy steps by an optimiser of its own, from its last global model."""
    if strategy in _STRATEGIES:
        return strategy in {"fedavgm", "fedadam", "fedyogi"}
    if not WRAPPED.refers(strategy) or not is_strategy_class(loaded := METHOD.load(strategy)):
        return False
    from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedYogi

    return issubclass(loaded, FedAdagrad | FedAdam | FedAvgM | FedYogi)


MODEL = ExtensionPoint(
    "model",
    {
        "small-resnet": "fgl_flower.learning.small_resnet:small_resnet",
        "resnet-18": "fgl_flower.learning.resnet:resnet_18",
        "resnet-34": "fgl_flower.learning.resnet:resnet_34",
        "resnet-50": "fgl_flower.learning.resnet:resnet_50",
        "hub": "fgl_flower.learning.hub_model:hub_model",
    },
    called_with("num_classes", "norm"),
    others="places",
    shown="small-resnet, resnet-18, resnet-34, resnet-50, hub:ID",
)
PARTITION = ExtensionPoint(
    "partition",
    {
        "iid": "fgl_flower.data.partitioners:iid",
        "dirichlet": "fgl_flower.data.partitioners:dirichlet",
        "domain": "fgl_flower.data.partitioners:domain",
    },
    called_with("images", "config"),
)
PROMPT_LEVEL = ExtensionPoint(
    "prompt-level",
    {
        "names": "fgl_flower.levels.names:Names",
        "class": "fgl_flower.levels.class_style:Class",
        "class-style": "fgl_flower.levels.class_style:ClassStyle",
        "instance": "fgl_flower.levels.instance:Instance",
        "embeddings": "fgl_flower.levels.embeddings:Embeddings",
        "tokens": "fgl_flower.levels.tokens:Tokens",
        "votes": "fgl_flower.levels.votes:Votes",
        "auto": "fgl_flower.levels.auto:Auto",
    },
    with_members(LEVEL_MEMBERS),
)
BUDGET_RULE = ExtensionPoint(
    "budget-rule",
    {
        "uniform": "strategies.budget:uniform",
        "by-count": "strategies.budget:by_count",
        "by-deficit": "strategies.budget:by_deficit",
    },
    called_with("offers", "held"),
)
_IMAGENET = ("nette", "fruit", "yellow", "squawk", "100")
_RECIPES = ("cifar10", "pacs", "office-home", "eurosat", "bloodmnist")
ON_HUB = frozenset({"hub", *_RECIPES})
"""Data sets of the Hugging Face hub, or copies of theirs: these have columns, a configuration and a revision."""

DATASET = ExtensionPoint(
    "dataset",
    {
        "world": "fgl_flower.data.sources:world",
        "world-held-out-classes": "fgl_flower.data.sources:world",
        "world-held-out-style": "fgl_flower.data.sources:world",
        "world-codes": "fgl_flower.data.sources:world",
        "world-jargon": "fgl_flower.data.sources:world",
        "world-shifted": "fgl_flower.data.sources:world",
        "hub": "fgl_flower.data.sources:from_hub",
        "folder": "fgl_flower.data.sources:folder",
        "domainnet": "fgl_flower.data.sources:domainnet",
        "nodes": "fgl_flower.data.sources:nodes",
        **{f"imagenet-{name}": "fgl_flower.data.sources:imagenet_subset" for name in _IMAGENET},
        **dict.fromkeys(_RECIPES, "fgl_flower.data.sources:recipe"),
    },
    called_with("config"),
    others="places",
    shown="world, world-codes, world-jargon, world-shifted, hub:ID, folder:PATH, domainnet:PATH, "
    f"imagenet-{'|'.join(_IMAGENET)}:PATH, {', '.join(_RECIPES)} (or NAME:PATH of a copy), nodes",
)
GENERATOR = ExtensionPoint(
    "generator",
    {"miniature": "", "miniature-fast": ""},
    with_members(("revision", "size", "draw")),
    others="a hub id or path",
)
CAPTIONER = ExtensionPoint(
    "captioner", {"miniature": ""}, with_members(("revision", "describe")), others="a hub id or path"
)
