"""How much a run trains, and what its learner is: steps, images, parameters, operations."""

import math
from dataclasses import dataclass
from functools import lru_cache

from experiments.planning.figures import Figure, Sign
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, LearnerConfig, RunConfig
from fgl_flower.data.folders import DOMAINNET_CLASSES
from fgl_flower.data.imagenet import SUBSETS
from fgl_flower.data.partition import partition
from fgl_flower.data.sources import Source
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import is_strategy

PASSES_OF_A_STEP = 3  # a step's forward and backward pass in forward passes, as usual (Kaplan et al., arXiv 2001.08361)


@dataclass(frozen=True)
class Learner:
    """The size of a classifier.

    Attributes
    ----------
    weights : int
        Bytes of those floating-point parameters and buffers that travel.
    whole : int
        Bytes of all of them, also of those that no training changes.
    envelope : int
        Bytes that Flower adds around them in a message's arrays.
    flops : float or None
        Floating-point operations of a forward pass of one image.
    """

    weights: int
    whole: int
    envelope: int
    flops: float | None


@dataclass(frozen=True)
class Work:
    """Training of a run: images that pass forward and back, all epochs counted.

    Attributes
    ----------
    server, clients : int or None
        On the server, and over all clients and rounds; None: unknown.
    sampled : int
        Clients that train in a round.
    """

    server: int | None
    clients: int | None
    sampled: int
    figures: tuple[Figure, ...]

    @property
    def images(self) -> int | None:
        """All of them."""
        return None if self.server is None or self.clients is None else self.server + self.clients


@lru_cache(maxsize=8)
def learner_of(config: LearnerConfig, classes: int, size: int) -> Learner:
    """Return a classifier's size; a pretrained one must be on this machine.

    Parameters
    ----------
    config : LearnerConfig
    classes : int
    size : int
        Side of its input, in pixels.

    Raises
    ------
    ConfigError
        If it cannot be built.
    """
    import numpy as np
    import torch
    from flwr.app import ArrayRecord
    from torch.utils.flop_counter import FlopCounterMode

    from fgl_flower.learning.building import learner
    from fgl_flower.wire.npy import array_of
    from fgl_flower.wire.sizes import object_bytes

    built = learner(config, classes).to("meta").eval()
    every = {name: tensor for name, tensor in built.state_dict().items() if tensor.is_floating_point()}
    floats = {name: tensor for name, tensor in every.items() if name not in built.fixed}
    small = {  # a number each, all different: Flower sends equal arrays once
        name: array_of(np.full([1] * tensor.ndim, i, np.float32)) for i, (name, tensor) in enumerate(floats.items())
    }
    envelope = object_bytes(ArrayRecord(small)) - 4 * len(floats)
    flops: float | None = None
    try:
        with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
            built(torch.empty(1, 3, size, size))
        flops = float(counter.get_total_flops())
    except (RuntimeError, NotImplementedError, TypeError):  # an operation of a user's own that has no meta form
        pass
    travels, whole = (sum(4 * tensor.numel() for tensor in some.values()) for some in (floats, every))
    return Learner(travels, whole, envelope, flops or None)


def class_count(config: RunConfig, source: Source | None) -> int:
    """Return the number of classes, by the data or by what is known of a data set without it; 0: unknown."""
    if source is not None:
        return len(source.classes)
    kind = config.dataset.partition(":")[0]
    known = DOMAINNET_CLASSES if kind == "domainnet" else SUBSETS.get(kind.removeprefix("imagenet-"), ())
    return len(config.class_names or known)


def steps(images: int, batch_size: int) -> int:
    """Return the steps of an epoch: as `fgl_flower.learning.training` batches, which leaves no image alone."""
    count = math.ceil(images / batch_size)
    return count - 1 if batch_size > 1 and count > 1 and images % batch_size == 1 else count


def sampled(config: RunConfig) -> int:
    """Return how many clients train in a round, as Flower's strategies sample them."""
    if config.method == "local":
        return config.clients
    return max(1, int(config.clients * min(1.0, math.nextafter(config.fraction, 2.0))))


def federates(config: RunConfig) -> bool:
    """Return whether a run has rounds in which clients train."""
    return config.rounds > 0 and (config.method in {"fgl", "local"} or is_strategy(config.method))


def work_of(config: RunConfig, source: Source | None, planned: int | None) -> Work:
    """Return how much a run trains.

    Parameters
    ----------
    config : RunConfig
    source : Source or None
        The data set, if it is here.
    planned : int or None
        Images of the synthetic training set.
    """
    server, on_server = _server(config, source, planned)
    clients, on_clients = _clients(config, source)
    return Work(server, clients, sampled(config), (*on_server, *on_clients))


def _server(config: RunConfig, source: Source | None, planned: int | None) -> tuple[int | None, list[Figure]]:
    private = len(source.private) if source and config.dataset != "nodes" else None
    together = None if planned is None or private is None else planned + private
    kinds = {"fgl": planned, "centralised": private, "mixed": together}
    if config.method not in kinds:
        return 0, []
    images = kinds[config.method]
    if images is None:
        return None, [Figure.unknown("training", "server's steps", "steps", "needs the data set")]
    tuned = config.rounds * config.fine_tune_epochs
    epochs = config.server_epochs + tuned
    basis = f"{images:,} images in batches of {config.batch_size}, {config.server_epochs} epochs"
    basis += f" and {tuned} of fine-tuning" if tuned else ""
    count = steps(images, config.batch_size) * epochs
    return images * epochs, [Figure("training", "server's steps", count, "steps", basis)]


def _clients(config: RunConfig, source: Source | None) -> tuple[int | None, list[Figure]]:
    if not federates(config):
        return 0, []
    shares = _shares(config, source)
    if shares is None:
        why = "needs the data set and its division"
        return None, [Figure.unknown("training", "clients' steps", "steps", why)]
    chosen = sampled(config)
    times = chosen * config.rounds * config.local_epochs
    count = times * sum(steps(images, config.batch_size) for images in shares) / config.clients
    basis = f"{config.rounds} rounds x {config.local_epochs} epochs x {chosen} of {config.clients} clients, as divided"
    sign: Sign = "about" if chosen < config.clients else ""
    return round(times * sum(shares) / config.clients), [
        Figure("training", "clients' steps", count, "steps", basis, sign)
    ]


def _shares(config: RunConfig, source: Source | None) -> list[int] | None:
    if source is None or config.dataset == "nodes" or config.method in METHODS_WITHOUT_CLIENTS:
        return None
    try:
        return [len(index) for index in partition(source.private, config).index]
    except ConfigError:  # told by the run's preflight
        return None
