"""What a client tells under `dp-epsilon`: numbers with noise of its own, as often as the run's promise covers."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from flwr.app import ConfigRecord, RecordDict

from clients.data import Client
from clients.own_data import Own
from clients.policy import PolicyError
from clients.shared import SharedData
from fgl_flower.errors import ConfigError
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import Description, Level
from fgl_flower.privacy.accountant import Release
from fgl_flower.privacy.guarantee import Guarantee
from fgl_flower.privacy.noise import noised
from fgl_flower.wire.payload import Prompt, PromptPayload

RELEASED = "released-"  # in the client's state, and what it was: with it what was told, if it can be told again


def guarantee_of(client: Client) -> Guarantee | None:
    """Return what the run promises this client's images; None: nothing.

    Raises
    ------
    ConfigError
        If the client holds data of its own and the run names no delta.
    """
    config = client.config
    if not config.dp_epsilon:
        if client.policy.epsilon:
            refuse(client, "the run's questions")
        return None
    source = client.source
    if isinstance(source, Own):
        if not config.dp_delta:
            raise ConfigError("this node has data of its own: the run must set dp-delta, which it counts images for")
        return Guarantee.of(config, 0)
    return Guarantee.of(config, len(source.table if isinstance(source, SharedData) else source.private))


def require(client: Client, promise: Guarantee, what: str) -> Release:
    """Return how often the run's promise lets a client send this.

    Raises
    ------
    PolicyError
        If it does not.
    """
    release = promise.covers(what)
    if release is None:
        refuse(client, what)
        raise AssertionError  # a promise comes of dp-epsilon alone
    return release


def private_payload(
    client: Client, level: Level, held: Holdings, promise: Guarantee, classes: Collection[str]
) -> PromptPayload:
    """Return counts of all prompts that there could be, with noise; those that noise alone would give are left out.

    A level may say more (`Level.with_noise`). What has its noise is all that is looked at: sums of classes come of it,
    and how many images cannot be read or how many prompts are held back is not told.

    Parameters
    ----------
    client : Client
    level : Level
    held : Holdings
        The client's images, may be none.
    promise : Guarantee
    classes : collection of str
        Classes to speak of, whether the client holds them or not.

    Raises
    ------
    PolicyError
        If what the level says has no such promise.
    """
    require(client, promise, "prompts")
    universe = level.universe(client.config, held.classes, held.domains)
    if universe is None:
        raise PolicyError("the run promises differential privacy, and has none at this prompt level")
    if (said := level.with_noise(held, classes, promise.noise)) is not None:
        return _summed(client, level, said)
    places = [prompt for prompt in universe if prompt.label in classes]
    described = level.describe(held).prompts if len(held) else ()
    true = {(p.text, p.label, p.domain): p.count for p in described}
    counts = noised([true.get((p.text, p.label, p.domain), 0) for p in places], promise.noise)
    least = promise.threshold(len(places))
    kept = [Prompt(p.text, p.label, p.domain, n) for p, n in zip(places, counts, strict=True) if n >= least]
    return _summed(client, level, Description(tuple(sorted(kept))))


def _summed(client: Client, level: Level, said: Description) -> PromptPayload:
    sums = Counter[str]()
    for prompt in said.prompts:
        sums[prompt.label] += prompt.count
    kind = level.kind if said.prompts else "text"
    return PromptPayload(client.partition_id, said.prompts, dict(sums), kind=kind, arrays=said.arrays)


def private_counts(right: Sequence[int], total: Sequence[int], promise: Guarantee) -> tuple[list[int], list[int]]:
    """Return images of each class that a model gets right, and all of them, with noise: two releases."""
    most = [max(0, n) for n in noised(total, promise.noise)]
    return [min(max(0, n), limit) for n, limit in zip(noised(right, promise.noise), most, strict=True)], most


def once(state: RecordDict, what: str, make: Callable[[], RecordDict]) -> RecordDict:
    """Return what `make` returns, and the same thing again whenever it is asked for again in the run.

    Noise that is drawn anew for the same counts could be averaged away.
    """
    if (told := state.config_records.get(RELEASED + what)) is None:
        content = make()
        [(name, record)] = content.config_records.items()
        told = state[RELEASED + what] = ConfigRecord({"name": name, **record})
    values = dict(told)
    return RecordDict({str(values.pop("name")): ConfigRecord(values)})


def only_once(state: RecordDict, what: str) -> None:
    """Refuse what was told before in the run and cannot be told again, as the question is another one.

    Raises
    ------
    PolicyError
        From the second time on.
    """
    if RELEASED + what in state.config_records:
        raise PolicyError(f"the run's privacy budget for {what} is spent: it was told once")
    state[RELEASED + what] = ConfigRecord({"told": True})


def refuse(client: Client, what: str) -> None:
    """Refuse what has no promise in a run that makes one, and to a server whose promise the owner demands.

    Raises
    ------
    PolicyError
        In such a run, or under such rules.
    """
    if client.policy.epsilon and not client.config.dp_epsilon:
        raise PolicyError(
            f"the owner's rules demand differential privacy (dp-epsilon), and the run has none for {what}"
        )
    if client.config.dp_epsilon:
        raise PolicyError(f"the run promises differential privacy (dp-epsilon), and has none for {what}")
