"""Replies of clients as they came, on disk: a server that is started again does not ask for them once more.

One file a call to the clients, to which each reply but an error is appended, sound or not: node, the size of its
message, length, checksum, and the content as Flower's Protobuf. What a killed process left half written at the end is
left out.
"""

import os
import struct
import zlib
from pathlib import Path

from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError

_HEAD = struct.Struct("<QQQI")  # node, bytes of the message, bytes that follow, CRC-32 of these


def to_bytes(content: RecordDict) -> bytes:
    """Return a content as Protobuf."""
    return recorddict_to_proto(content).SerializeToString()


def from_bytes(data: bytes) -> RecordDict:
    """Return the content of `to_bytes`.

    Raises
    ------
    ValueError
        If these are other bytes.
    """
    try:
        return recorddict_from_proto(ProtoRecordDict.FromString(data))
    except DecodeError as error:
        raise ValueError(f"these are not the bytes of a record: {error}") from None


class Journal:
    """The replies of one run.

    Parameters
    ----------
    folder : Path
        Made with the first reply.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, call: str) -> dict[int, tuple[RecordDict, int]]:
        """Return content and size of the replies to a call by node, in the order in which they came."""
        try:
            data = (self.folder / call).read_bytes()
        except OSError:
            return {}
        result, end = {}, 0
        while end + _HEAD.size <= len(data):
            node, size, length, check = _HEAD.unpack_from(data, end)
            body = data[end + _HEAD.size : end + _HEAD.size + length]
            if len(body) < length or zlib.crc32(body) != check:
                break
            result[node] = from_bytes(body), size
            end += _HEAD.size + length
        if end < len(data):
            os.truncate(self.folder / call, end)  # what is appended now must not lie behind half a reply
        return result

    def keep(self, call: str, node: int, content: RecordDict, size: int) -> None:
        """Append a reply; it survives the process at once, and the machine where the disk does.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        body = to_bytes(content)
        with os.fdopen(os.open(self.folder / call, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(_HEAD.pack(node, size, len(body), zlib.crc32(body)) + body)

    def drop(self, calls: str) -> None:
        """Forget the calls whose names match a pattern."""
        for path in self.folder.glob(calls):
            path.unlink(missing_ok=True)
