"""Client apps in forked copies of this process, one for each client that works at the same time.

Threads would share Python's global lock: the operators of a small model are so short that two threads train barely
faster than one. A fork starts at once and reads what this process has loaded (libraries, decoded images) without a
copy. Messages cross as Flower's protobuf.

Only where nothing but CPUs compute, and on Linux: a CUDA context does not survive a fork, macOS' own libraries do not.
"""

import gc
import multiprocessing
import os
import queue
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from threading import Thread

from flwr.app import Array, ArrayRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto, recorddict_from_proto, recorddict_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from fgl_flower.freed_memory import give_back

__all__ = ["Answer", "Processes", "can_fork"]

Answer = Callable[[Message, RecordDict], tuple[Message | None, RecordDict]]
"""From a message and what its client keeps to the reply and what the client then keeps."""


def can_fork(device: str) -> bool:
    """Return whether clients that compute on this device ("cpu", "cuda", ...) may live in forked processes.

    A daemonic process, as a pool's are, may have none.
    """
    return device == "cpu" and sys.platform == "linux" and not multiprocessing.current_process().daemon


class Processes:
    """Processes that answer messages; closed, they are gone.

    Parameters
    ----------
    count : int
    answer : Answer
        Called in the processes, with all that this one knew when `Processes` was made.
    """

    def __init__(self, count: int, answer: Answer) -> None:
        self._answer = answer
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._closed = False
        give_back()  # a fork counts all that this process has not given back
        for _ in range(count):
            self._add()

    def ask(self, message: Message, kept: RecordDict) -> tuple[Message | None, RecordDict]:
        """Return what the client answers and then keeps; call it from as many threads as there are processes.

        A process that dies is an error reply of the client it worked for; another one takes its place.
        """
        worker = self._idle.get()
        try:
            result = worker.ask(message, kept)
        except (EOFError, OSError):
            worker.end()
            if self._closed:
                return None, kept
            self._all.remove(worker)
            code = worker.process.exitcode
            why = (
                f"the process in which this client worked died ({_why(code)}): is the memory enough for client-workers?"
            )
            result = Message(Error(ErrorCode.CLIENT_APP_CRASHED, why), reply_to=message), kept
            worker = self._add(idle=False)
        self._idle.put(worker)
        return result

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._closed = True
        for worker in self._all:
            worker.end()

    def _add(self, *, idle: bool = True) -> "_Worker":
        worker = _Worker(self._answer)
        self._all.append(worker)
        if idle:
            self._idle.put(worker)
        return worker


class _Worker:
    def __init__(self, answer: Answer) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, answer), daemon=True, name="client")

        def start() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, where other threads run
                self.process.start()

        # The forked thread lives on in the child: a new one brings no pool of OpenMP threads that are not there.
        thread = Thread(target=start)
        thread.start()
        thread.join()
        theirs.close()

    def ask(self, message: Message, kept: RecordDict) -> tuple[Message | None, RecordDict]:
        _send(self.pipe, message, kept)
        return _receive(self.pipe)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _work(pipe: Connection, answer: Answer) -> None:
    """Answer until the other end of the pipe is closed, as it is when that process dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides what it means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # to look through the parent's objects for garbage would copy all of their pages
    _close_all_but(pipe.fileno())  # else a lock or a pipe of the parent's would outlive it
    while True:
        try:
            message, kept = _receive(pipe)
        except (EOFError, OSError):
            os._exit(0)
        assert message is not None
        _send(pipe, *answer(message, kept))


def _close_all_but(kept: int) -> None:
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number != kept:
            try:
                os.close(number)
            except OSError:
                continue  # that of the listing itself


def _send(pipe: Connection, message: Message | None, kept: RecordDict) -> None:
    """Send a message and a state: Flower's protobuf, then the data of their arrays, which it would copy four times."""
    content = message.content if message is not None and message.has_content() else RecordDict()
    shapes, state = _without_data(content), _without_data(kept)
    if message is not None and message.has_content():
        message.content = shapes
    try:
        pipe.send_bytes(b"" if message is None else message_to_proto(message).SerializeToString())
    finally:
        if message is not None and message.has_content():
            message.content = content
    pipe.send_bytes(recorddict_to_proto(state).SerializeToString())
    for array in (*_arrays(content), *_arrays(kept)):
        pipe.send_bytes(array.data)


def _receive(pipe: Connection) -> tuple[Message | None, RecordDict]:
    head, tail = pipe.recv_bytes(), pipe.recv_bytes()
    message = message_from_proto(ProtoMessage.FromString(head)) if head else None
    kept = recorddict_from_proto(ProtoRecordDict.FromString(tail))
    content = message.content if message is not None and message.has_content() else RecordDict()
    for array in (*_arrays(content), *_arrays(kept)):
        array.data = pipe.recv_bytes()
    return message, kept


def _arrays(content: RecordDict) -> Iterator[Array]:
    for record in content.array_records.values():
        yield from record.values()


def _without_data(content: RecordDict) -> RecordDict:
    return RecordDict(
        {
            name: ArrayRecord({key: Array(a.dtype, tuple(a.shape), a.stype, b"") for key, a in record.items()})
            if isinstance(record, ArrayRecord)
            else record
            for name, record in content.items()
        }
    )


def _why(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
