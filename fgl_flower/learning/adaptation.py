"""What training changes: the whole classifier, its head alone, or its head and low-rank adapters.

What it does not change is fixed (`Classifier.fixed`): the same everywhere, and not sent. The statistics of fixed
normalisation layers stay those of the checkpoint. Adapters are LoRA's (Hu et al., arXiv 2106.09685) by `peft`, on every
linear layer of the backbone; averaging strategies average their two factors one by one, as FedIT does (Zhang et al.,
arXiv 2305.05644), which is not the average of their products.
"""

import copy
import re
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fgl_flower.errors import ConfigError
from fgl_flower.learning.classifier import Classifier

__all__ = ["restrict", "whole_state"]

_SCALE = 2  # of an adapter's output, alpha / rank: a common choice, the same for every rank


def restrict(model: Classifier, train: str, rank: int) -> None:
    """Let training change no more than `train` says.

    Parameters
    ----------
    model : Classifier
        Changed in place; adapters' weights are drawn from torch's global generator.
    train : {"all", "head", "lora"}
    rank : int
        Of the adapters, >= 1.

    Raises
    ------
    ConfigError
        If the backbone cannot have adapters, or `peft` is not installed.
    """
    if train == "all":
        return
    if train == "head":
        model.backbone.requires_grad_(False)
        model.fix([model.backbone])
        return
    model.backbone = _adapted(model.backbone, rank)
    model.fix(module for module in model.backbone.modules() if isinstance(module, _BatchNorm))


def _adapted(backbone: nn.Module, rank: int) -> nn.Module:
    if find_spec("peft") is None:
        raise ConfigError("train = 'lora' needs an extra: pip install 'fgl-flower[lora]'")
    linear = [name for name, module in backbone.named_modules() if type(module) is nn.Linear]
    if not linear:
        raise ConfigError(
            "train = 'lora' adapts linear layers, and this model has none but its head: use train = 'all' or 'head'"
        )
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    names = "|".join(map(re.escape, linear))  # one expression: names in a list would match by their ends, too
    settings = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules=names)
    return LoraModel(backbone, settings, "default")


def whole_state(model: Classifier) -> dict[str, torch.Tensor]:
    """Return the state of the model with its adapters merged: that of the same model built with train = "all"."""
    if not hasattr(model.backbone, "merge_and_unload"):
        return model.state_dict()
    merged: Any = copy.deepcopy(model)  # whole: what is fixed is shared, and merging changes it
    merged.backbone = merged.backbone.merge_and_unload()
    state: dict[str, torch.Tensor] = merged.state_dict()
    return state
