"""Torch's random numbers where several clients are trained in one process at the same time.

Torch has one global generator a process. What draws from it by turns, thread by thread, differs from run to run; so
this package draws from generators of its own, and what cannot (kornia's parameters, dropout in a user's model, the
initialisation of weights) takes the global one for itself while it draws.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch import nn

__all__ = ["draws_randomly", "own_randomness"]

_GLOBAL = RLock()
_known: dict[tuple[Any, ...], bool] = {}


@contextmanager
def own_randomness(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators, keep other threads that come here waiting, and restore the state at the end.

    Parameters
    ----------
    seed : int
    device : torch.device, optional
        Whose generator is seeded, too, if it is a CUDA device.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with _GLOBAL, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def draws_randomly(model: nn.Module, batch: torch.Tensor) -> bool:
    """Return whether a model draws from torch's global generator in training, as one with dropout does.

    Parameters
    ----------
    model : torch.nn.Module
        Unchanged: a copy is tried, once for all models of the same modules, rates and trained parts.
    batch : torch.Tensor
        (n, 3, S, S) float32, normalised, on the model's device.
    """
    kind = tuple(_kind(module) for module in model.modules())
    with _GLOBAL:
        if kind not in _known:
            with torch.random.fork_rng(devices=[batch.device] if batch.device.type == "cuda" else []), torch.no_grad():
                before = _states(batch.device)
                copy.deepcopy(model).train()(batch)
                _known[kind] = not all(map(torch.equal, before, _states(batch.device)))
        return _known[kind]


def _kind(module: nn.Module) -> tuple[Any, ...]:
    """Return what a module's draws depend on: rates of dropout lie among its numbers, under many names."""
    rates = tuple(value for value in vars(module).values() if isinstance(value, float))
    return type(module), rates, tuple(p.requires_grad for p in module.parameters(recurse=False))


def _states(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
