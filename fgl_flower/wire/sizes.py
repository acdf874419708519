"""How many bytes Flower makes of a message, and what stands for them."""

import hashlib

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import InflatableObject, get_all_nested_objects, no_object_id_recompute


def object_bytes(thing: InflatableObject) -> int:
    """Return the size of a message or record as Flower serialises it, in bytes."""
    with no_object_id_recompute():
        return sum(len(part.deflate()) for part in get_all_nested_objects(thing).values())


def message_bytes(message: Message) -> int:
    """Return the size of a message as Flower serialises it, in bytes."""
    return object_bytes(message)


def message_objects(message: Message) -> int:
    """Return how many objects Flower makes of a message, each of which crosses the wire in a request of its own."""
    with no_object_id_recompute():
        return len(get_all_nested_objects(message))


def object_digest(thing: InflatableObject) -> str:
    """Return the SHA-256 of all that `object_bytes` counts, in hexadecimal."""
    with no_object_id_recompute():
        parts = get_all_nested_objects(thing)
        return hashlib.sha256(b"".join(parts[name].deflate() for name in sorted(parts))).hexdigest()
