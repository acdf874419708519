"""The size of a client's answer as it stands on the wire, without a federation."""

from functools import lru_cache
from typing import Any


def reply_bytes(records: Any) -> int:
    """Return the bytes of the message by which a client answers the prompt round.

    Parameters
    ----------
    records : RecordDict
        Of `fgl_flower.wire.codec.encode`.
    """
    from flwr.app import Message

    from fgl_flower.wire.sizes import message_bytes

    return message_bytes(Message(records, reply_to=_question()))


@lru_cache(maxsize=1)
def _question() -> Any:
    from flwr.app import Message, RecordDict
    from flwr.clientapp import ClientApp

    from fgl_flower.simulation import InlineGrid

    node = next(iter(InlineGrid(ClientApp(), 1, {}).get_node_ids()))
    question = Message(RecordDict(), node, "query.prompts")
    question.metadata.__dict__["_message_id"] = "0" * 64  # as long as Flower's own
    return question
