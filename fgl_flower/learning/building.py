"""How a classifier is built from a configuration, the same in every process."""

from functools import lru_cache

import torch

from fgl_flower.config import LearnerConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import MODEL
from fgl_flower.learning.adaptation import restrict
from fgl_flower.learning.classifier import Classifier
from fgl_flower.learning.randomness import own_randomness

__all__ = ["build_model", "learner", "model_revision"]


def build_model(
    name: str,
    num_classes: int,
    norm: str = "group",
    *,
    seed: int,
    revision: str = "",
    train: str = "all",
    lora_rank: int = 8,
) -> Classifier:
    """Return a freshly initialised classifier; the same arguments always give the same weights.

    The last one is remembered: a process reads a checkpoint once, and models share the weights that stay as they are.

    Parameters
    ----------
    name : str
        A value of the key `model`: a built-in name, ``hub:ID``, or ``module:object``: a function (num_classes, norm) ->
        Classifier.
    num_classes : int
        Classes, >= 1.
    norm : {"group", "batch"}
        Normalisation layers; those of a pretrained model are its own.
    seed : int
        Seed of the initialisation. The global random state is left as it was.
    revision : str
        Hub revision of a pretrained model; empty: the default branch.
    train : {"all", "head", "lora"}
        What training changes; see `fgl_flower.learning.adaptation`.
    lora_rank : int
        >= 1; for "lora".

    Raises
    ------
    ConfigError
        If there is no such model or normalisation, a user's function returns no `Classifier`, or the model cannot be
        trained so; a `ModelError` if a checkpoint is missing or no image classifier.
    """
    if norm not in {"group", "batch"}:
        raise ConfigError(f"norm = {norm!r} is unknown: use 'group' or 'batch'")
    stamp = model_revision(name, revision)  # a folder's files may change while a process lives
    return _built(name, num_classes, norm, seed, revision, train, lora_rank, stamp).copy()


def learner(config: LearnerConfig, num_classes: int) -> Classifier:
    """Return the classifier of a configuration, freshly initialised; see `build_model`."""
    return build_model(
        config.model,
        num_classes,
        config.norm,
        seed=config.seed,
        revision=config.model_revision,
        train=config.train,
        lora_rank=config.lora_rank,
    )


def model_revision(name: str, revision: str = "") -> str:
    """Return what stands for the weights of a pretrained model: its commit or a hash of its files; empty for others.

    Raises
    ------
    ModelError
        If there is no such checkpoint; one of the hub that is not cached is downloaded.
    """
    kind, _, place = name.partition(":")
    if kind != "hub" or not place:
        return ""
    from fgl_flower.learning.hub_model import checkpoint_revision  # transformers: only for those who ask for it

    return checkpoint_revision(place, revision)


@lru_cache(maxsize=1)
def _built(
    name: str, num_classes: int, norm: str, seed: int, revision: str, train: str, rank: int, stamp: str
) -> Classifier:
    kind, _, place = name.partition(":")
    with own_randomness(seed):
        if kind == "hub" and place:
            model = MODEL.load(kind)(num_classes, place, revision)
        else:
            model = MODEL.load(name)(num_classes, norm)
        if not isinstance(model, Classifier):
            raise ConfigError(
                f"model = {name!r} returned a {type(model).__name__}, not a fgl_flower.learning.classifier.Classifier"
            )
        if model.head.out_features != num_classes:
            raise ConfigError(f"model = {name!r} has {model.head.out_features} outputs for {num_classes} classes")
        restrict(model, train, rank)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
