"""How many bytes Flower makes of a message."""

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import InflatableObject, get_all_nested_objects, no_object_id_recompute


def object_bytes(thing: InflatableObject) -> int:
    """Return the size of a message or record as Flower serialises it, in bytes."""
    with no_object_id_recompute():
        return sum(len(part.deflate()) for part in get_all_nested_objects(thing).values())


def message_bytes(message: Message) -> int:
    """Return the size of a message as Flower serialises it, in bytes."""
    return object_bytes(message)
