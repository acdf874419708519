"""The bytes that a run would send: weights, prompts and one-time downloads."""

from collections.abc import Sequence

from experiments.planning.figures import Figure
from experiments.planning.messages import reply_bytes
from experiments.planning.work import Learner, federates, sampled
from fgl_flower.config import METHODS_WITHOUT_CLIENTS, RunConfig
from fgl_flower.errors import ConfigError
from fgl_flower.extension_points import is_strategy
from fgl_flower.levels.downloads import client_models
from fgl_flower.levels.level import level_of
from fgl_flower.wire.codec import encode
from fgl_flower.wire.payload import PromptPayload

_OTHERS = "requests and metrics, some hundred bytes a message, are not counted"


def traffic(
    config: RunConfig, learner: Learner | None, payloads: Sequence[PromptPayload], *, data: bool, generator: bool
) -> list[Figure]:
    """Return bytes up and down a client and of all clients.

    Parameters
    ----------
    config : RunConfig
    learner : Learner or None
        The classifier's size, where it is known.
    payloads : sequence of PromptPayload
        What clients would send, where that can be told.
    data, generator : bool
        Whether these are here: the limits of a payload depend on them.
    """
    if config.method in METHODS_WITHOUT_CLIENTS:
        return [Figure("bytes", "between clients and server", 0, "bytes", f"method = {config.method!r} has no clients")]
    figures = [_prompts(config, payloads, data=data and generator), *_once(config, generator)] if config.draws else []
    return [*figures, *_weights(config, learner)]


def _prompts(config: RunConfig, payloads: Sequence[PromptPayload], *, data: bool) -> Figure:
    name = "prompts up a client"
    if config.prompt_level != "auto" and not level_of(config.prompt_level).asks_clients:
        return Figure("bytes", name, 0, "bytes", "the level asks clients nothing")
    if payloads:
        size = sum(reply_bytes(encode(payload)) for payload in payloads) / len(payloads)
        return Figure("bytes", name, size, "bytes", "mean of what names and labels of the clients' shares say", "about")
    why = "captions and vectors are made by the clients: fgl preview FILE shows one's"
    if config.prompt_level == "votes":
        why = "votes on candidates that are drawn first, a number for each; vote-rounds answers"
    if data:
        from strategies.planning import limits_for

        limits = limits_for(config)
        most = limits.data_bytes + (limits.array_bytes if limits.kind not in {"text", "votes"} else 0)
        most = min(most, config.max_client_bytes or most)
        return Figure.unknown("bytes", name, "bytes", f"{why}; the server takes {most:,} at most")
    return Figure.unknown("bytes", name, "bytes", why)


def _once(config: RunConfig, generator: bool) -> list[Figure]:
    needed = level_of(config.prompt_level).models(config)
    if not needed:
        return []
    if needed & {"text-encoder", "generator"} and not generator:
        return [Figure.unknown("bytes", "models down a client, once", "bytes", "the generator is not here")]
    try:
        models = client_models(config)
    except ConfigError:
        models = {}
    if not models:
        return [
            Figure.unknown(
                "bytes", "models down a client, once", "bytes", f"no {' and no '.join(sorted(needed))} is here"
            )
        ]
    basis = "files of " + ", ".join(models)
    return [Figure("bytes", "models down a client, once", sum(models.values()), "bytes", basis)]


def _weights(config: RunConfig, learner: Learner | None) -> list[Figure]:
    up, down, why = messages(config)
    if learner is None:
        return [
            Figure.unknown("bytes", f"weights {way} a client", "bytes", "the classifier's size is unknown")
            for way in ("up", "down")
        ]
    each = learner.weights + learner.envelope
    figures = []
    for way, count in (("up", up), ("down", down)):
        basis = f"{count:g} x {each:,} bytes of float32 weights in Flower's envelope" + (
            f": {why}" if way == "down" and why else ""
        )
        figures.append(
            Figure("bytes", f"weights {way} a client", count * each, "bytes", basis, "about" if count else "")
        )
    total = (up + down) * each * config.clients
    figures.append(
        Figure("bytes", "weights, all clients, both ways", total, "bytes", _OTHERS, "about" if total else "")
    )
    return figures


def messages(config: RunConfig) -> tuple[float, float, str]:
    """Return how many models a client sends and receives, in the mean, and what it receives them for."""
    if config.method == "local" or config.method in METHODS_WITHOUT_CLIENTS:
        return 0, 0, "models travel only to be measured, which is not counted" if config.method == "local" else ""
    rounds = config.rounds * sampled(config) / config.clients if federates(config) else 0.0
    down, why = rounds + 1, [f"{rounds:g} to train", "the final one"]
    if config.method == "fgl" and config.client_evaluation:
        down += 1
        why.append("one to judge after the one-shot training")
    if config.selection == "clients" and (config.method == "fgl" or is_strategy(config.method)):
        down += config.rounds
        why.append(f"{config.rounds} to judge, a round each")
    return rounds, down, ", ".join(why)
