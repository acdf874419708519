"""A client's reply in the prompt round."""

from collections import Counter

from flwr.app import ConfigRecord, RecordDict

from clients.data import Client
from clients.data_hash import data_hash
from clients.holdings import holdings
from fgl_flower.levels.level import level_of
from fgl_flower.wire.codec import HELD_KEY
from fgl_flower.wire.payload import PromptPayload, Unchanged

LAST_SENT = "spoken-of"  # in the client's state: the data that its last payload described, and the round


def query_prompts(client: Client, content: RecordDict, state: RecordDict) -> PromptPayload | Unchanged:
    """Return the client's payload or, where the server keeps one of the same data, word that nothing has changed.

    Parameters
    ----------
    client : Client
    content : RecordDict
        The question: in ``config``, ``server-round`` and the round of the payload that the server keeps, if it does.
    state : RecordDict
        Stays with the client from round to round; a client that has lost it sends again.
    """
    if not client.config.prompt_every:
        return prompt_payload(client)
    request, now = content.config_records["config"], data_hash(client)
    last = state.config_records.get(LAST_SENT)
    if last is not None and last["digest"] == now and last["server-round"] == request.get(HELD_KEY):
        return Unchanged(client.partition_id)
    payload = prompt_payload(client)
    state[LAST_SENT] = ConfigRecord({"digest": now, "server-round": request["server-round"]})
    return payload


def prompt_payload(client: Client) -> PromptPayload:
    """Return the payload of a client at the level its run asks for (`fgl_flower.levels`).

    Images that cannot be read only count as skipped.
    """
    level = level_of(client.config.prompt_level)
    if not level.asks_clients:
        return PromptPayload(client.partition_id)
    held = holdings(client)
    if not len(held):
        return PromptPayload(client.partition_id, skipped=len(client.skipped))
    description = level.describe(held)
    return PromptPayload(
        client.partition_id,
        description.prompts,
        dict(Counter(held.labels)) if description.prompts else {},
        kind=level.kind,
        arrays=description.arrays,
        skipped=len(client.skipped),
    )
