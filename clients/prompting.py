"""A client's reply in the prompt round."""

from collections import Counter
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from flwr.app import ConfigRecord, RecordDict

from clients.budget import spend
from clients.data import Client
from clients.data_hash import data_hash
from clients.holdings import holdings
from clients.kept import kept_text
from clients.policy import Policy, PolicyError
from clients.private import guarantee_of, private_payload
from clients.voting import released, vote
from fgl_flower.config import PromptConfig
from fgl_flower.levels.holdings import Holdings
from fgl_flower.levels.level import Description, Level, level_of
from fgl_flower.wire.ballot import Ballot
from fgl_flower.wire.codec import HELD_KEY, encode
from fgl_flower.wire.payload import Prompt, PromptPayload, Unchanged
from fgl_flower.wire.question import Question
from fgl_flower.wire.sizes import object_bytes

LAST_SENT = "spoken-of"  # in the client's state: the data that its last payload described, and the round


def query_prompts(client: Client, content: RecordDict, state: RecordDict, run: int = 0) -> PromptPayload | Unchanged:
    """Return the client's payload or, where the server keeps one of the same data, word that nothing has changed.

    Parameters
    ----------
    client : Client
    content : RecordDict
        The question: in ``config``, ``server-round``, the round of the payload that the server keeps, if it does, and
        what a `Question` says.
    state : RecordDict
        Stays with the client from round to round; a client that has lost it sends again.
    run : int
        Flower's id of the run: the owner's privacy budget is told.
    """
    request = content.config_records["config"]
    question = Question.of(request, Ballot.of(content))
    if not client.config.prompt_every:
        payload = prompt_payload(client, question)
        if (promise := guarantee_of(client)) is not None:
            what = released(client.config, content)
            if (release := promise.covers(what.partition("-")[0])) is not None:
                spend(client.policy, run, what, promise.mechanism(release), 1)
        return payload
    now = data_hash(client)
    last = state.config_records.get(LAST_SENT)
    if last is not None and last["digest"] == now and last["server-round"] == request.get(HELD_KEY):
        return Unchanged(client.partition_id)
    payload = prompt_payload(client, question)
    state[LAST_SENT] = ConfigRecord({"digest": now, "server-round": request["server-round"]})
    return payload


def prompt_payload(client: Client, question: Question | None = None) -> PromptPayload:
    """Return the payload of a client at the level that it is asked for, else at that of its run (`fgl_flower.levels`).

    Images that cannot be read only count as skipped. A payload beyond the bytes asked for loses its rarest prompts.
    """
    question = question or Question()
    policy, asked = client.policy, question.level or client.config.prompt_level
    name = policy.level(asked)
    level = level_of(name)
    if client.config.prompt_level != "auto" and level.kind != level_of(asked).kind:
        raise PolicyError(
            f"the owner's rules forbid prompts of the level {asked!r}, and the run takes no {name!r} instead"
        )
    if not level.asks_clients:
        return PromptPayload(client.partition_id)
    promise = guarantee_of(client)
    if promise is not None and (client.config.prompt_level == "votes") != (level.kind == "votes"):
        raise PolicyError(f"the run's differential privacy counts other answers than those of the level {asked!r}")
    held = holdings(client, question.unnamed)
    if level.kind == "votes":
        with _threads(level, client.config.client_cpus) if not client.keeps else nullcontext():
            return vote(client, question.ballot, held, promise, policy)
    if question.classes:
        held = held.of_classes(question.classes)
    if policy.never_mention:
        held = held.of_classes({*held.labels} - {*policy.never_mention})
    if promise is not None:
        spoken = {*(question.classes or held.classes)} - {*policy.never_mention}
        payload = permitted(private_payload(client, level, held, promise, spoken), policy)
        payload = replace(payload, level=name if name != asked else "", held_back=0)
        return _fitted(payload, question, policy)
    if not len(held):
        return PromptPayload(client.partition_id, skipped=len(client.skipped))
    description = _described(client, level, held)
    payload = PromptPayload(
        client.partition_id,
        description.prompts,
        dict(Counter(held.labels)) if description.prompts else {},
        kind=level.kind,
        arrays=description.arrays,
        skipped=len(client.skipped),
        seconds=description.seconds,
        level=name if name != asked else "",
    )
    return _fitted(permitted(payload, policy), question, policy)


def _fitted(payload: PromptPayload, question: Question, policy: Policy) -> PromptPayload:
    limits = [most for most in (question.max_bytes, policy.max_bytes) if most]
    return fitted(payload, min(limits)) if limits else payload


def _described(client: Client, level: Level, held: Holdings) -> Description:
    """Return what a level says; a deployed client remembers what took a model to say."""
    config = client.config
    models = level.models(config)
    if not models:
        return level.describe(held)
    if not client.keeps:
        with _threads(level, config.client_cpus):
            return level.describe(held)
    from fgl_flower.foundation.captioner import captioner_revision
    from fgl_flower.foundation.generator import inspect
    from fgl_flower.foundation.origin import Origin

    depends = [
        type(level).__qualname__,
        config.part(PromptConfig).model_dump(mode="json"),
        client.partition_id,  # tokens are learned from a seed of its own
        captioner_revision(config.captioner, config.captioner_revision) if "captioner" in models else "",
        inspect(Origin.configured(config)).revision if models - {"captioner"} else "",
        [held.labels, held.image_domains, sorted(held.unnamed)],
    ]
    text = kept_text("descriptions", held.rows.records(), depends, lambda: level.describe(held).to_json())
    return Description.from_json(text)


def _threads(level: Level, count: int) -> AbstractContextManager[None]:
    """Give a simulated client as many threads under every engine where it sends numbers: their last bits depend on it.

    Words do not, and come faster from all threads.
    """
    if level.kind == "text":
        return nullcontext()
    from fgl_flower.learning.threads import torch_threads

    return torch_threads(count)


def permitted(payload: PromptPayload, policy: Policy) -> PromptPayload:
    """Return a payload without prompts and classes of too few images, and with no more prompts than are permitted."""
    kept = [prompt for prompt in payload.prompts if prompt.count >= policy.min_images]
    if policy.max_prompts:
        kept = sorted(kept, key=lambda prompt: (-prompt.count, prompt))[: policy.max_prompts]
    if lost := len(payload.prompts) - len(kept):
        payload = replace(_only(payload, kept), held_back=lost)
    counts = {name: count for name, count in payload.class_counts.items() if count >= policy.min_images}
    return replace(payload, class_counts=counts)


def _only(payload: PromptPayload, prompts: Collection[Prompt]) -> PromptPayload:
    """Return a payload with these of its prompts and the arrays that they use."""
    if not prompts:
        return replace(payload, prompts=(), arrays={}, kind="text")

    def uses(prompt: Prompt, name: str) -> bool:
        return name == prompt.text if payload.kind == "embeddings" else name in prompt.text

    arrays = {name: array for name, array in payload.arrays.items() if any(uses(p, name) for p in prompts)}
    return replace(payload, prompts=tuple(sorted(prompts)), arrays=arrays)


def fitted(payload: PromptPayload, most: int) -> PromptPayload:
    """Return a payload with as many of its prompts as fit into `most` bytes on the wire, evenly over its classes.

    Of a class the most frequent prompts stay; the counts of its classes tell the server how much is left out.
    """
    turns: Counter[str] = Counter()
    order: list[tuple[int, Prompt]] = []
    for prompt in sorted(payload.prompts, key=lambda p: (-p.count, p)):
        order.append((turns[prompt.label], prompt))
        turns[prompt.label] += 1
    ranked = [prompt for _, prompt in sorted(order, key=lambda pair: pair[0])]

    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if object_bytes(encode(_only(payload, ranked[:middle]))) <= most else (low, middle - 1)
        )
    return _only(payload, ranked[:low])
