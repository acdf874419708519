"""Ctrl-C, `kill` and a closed terminal end a program within seconds and leave no process of its own.

The first signal raises `Interrupted` in the main thread, and whoever holds work keeps it on the way out. What still
runs `GRACE` seconds later, or when a second signal comes, is not waited for: a thread of Flower's simulation that
expects replies, a batch that is being drawn, a backward pass of minutes.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psutil

GRACE = 5.0  # seconds from the first signal to the end
TOGETHER = 1.0  # seconds in which signals are one: a terminal, `timeout` and service managers often send two
CHILDREN = 1.0  # seconds that child processes get to end by themselves

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_received = 0
_raised = False
_before: dict[int, Any] = {}  # the handlers that `caught` replaced, while it lasts
_callbacks: list[Callable[[], None]] = []
_started: set[psutil.Process] = set()  # this process' children, and theirs, when the first signal came


class Interrupted(KeyboardInterrupt):
    """A signal asked this program to end."""


def received() -> int:
    """Return the number of the signal that asked this program to end; 0: none did."""
    return _received


@contextmanager
def caught() -> Iterator[None]:
    """Raise `Interrupted` for a signal that comes meanwhile, and end the process with exit code 128 + its number.

    A signal that is ignored stays so: `nohup` and a shell's background jobs ask for that. Outside the main thread,
    which alone receives signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread() or _before:
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Ray's own handler of SIGTERM replaces ours, prints a stack and aborts the process three seconds later.
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
    wanted = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    _before.update({number: signal.signal(number, _raise) for number in wanted})
    # The C handler writes to it, so also while a long call into a library keeps the main thread from Python code.
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader, frozenset(wanted)), name="interrupts", daemon=True)
    watch.start()
    try:
        yield
    finally:
        if _received:
            leave(128 + _received)
        signal.set_wakeup_fd(wakeup)
        for number, handler in _before.items():
            signal.signal(number, handler)
        _before.clear()
        writer.close()  # which ends the thread
        watch.join()


@contextmanager
def on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Have `call` called once, by another thread, should a signal come meanwhile or the process be ended by force."""
    _callbacks.append(call)
    try:
        yield
    finally:
        with suppress(ValueError):  # called already
            _callbacks.remove(call)


def leave(code: int) -> NoReturn:
    """End this process and all that it started now, whatever its threads are doing."""
    _call_back()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    _end_children()
    os._exit(code)


def _call_back() -> None:
    while _callbacks:
        with suppress(Exception):  # IndexError: the main thread is leaving, too
            _callbacks.pop()()


def _raise(number: int, _: object) -> None:
    global _received, _raised
    _received = _received or number
    if not _raised:
        _raised = True
        raise Interrupted


def _watch(signals: socket.socket, wanted: frozenset[int]) -> None:
    """Wait for the first signal, then for the second or the end of the grace, and end the process."""
    global _received
    with signals:
        if not _next_of(signals, wanted):
            return  # nobody asked
        with suppress(psutil.Error):  # those of a process that ends first are nobody's children later: Ray's actors
            _started.update(psutil.Process().children(recursive=True))
        began = time.monotonic()
        _call_back()  # now: Ray's driver ends this process with code 1 where the signal has ended its raylet, too
        time.sleep(TOGETHER)
        signals.setblocking(False)
        with suppress(BlockingIOError):
            signals.recv(4096)
        signals.setblocking(True)
        select.select([signals], [], [], max(0.0, began + GRACE - time.monotonic()))
    leave(128 + _received)


def _next_of(signals: socket.socket, wanted: frozenset[int]) -> bool:
    """Wait for one of these signals, and remember it; return False once no more can come."""
    global _received
    while numbers := signals.recv(64):
        if first := next((number for number in numbers if number in wanted), 0):
            _received = _received or first
            return True
    return False


def _end_children() -> None:
    """End the processes that this one started, and those that they started: first asked, then killed.

    Ray's are killed last and all at once: its driver in this process exits with a code of its own when it misses one.
    """
    me = psutil.Process()
    started = {*_started, *me.children(recursive=True)}
    others = [child for child in started if not _is_rays(child)]
    for child in others:
        with suppress(psutil.Error):
            child.terminate()
    psutil.wait_procs(others, timeout=CHILDREN)
    for child in {*started, *me.children(recursive=True)}:
        with suppress(psutil.Error):
            child.kill()


def _is_rays(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(part.startswith("ray::") or "/ray/" in part for part in process.cmdline())
    return False


def _forget() -> None:
    """In a forked process: handle signals as before, or one that ends a worker would end this program as well."""
    global _received, _raised
    if _before:
        signal.set_wakeup_fd(-1)
        for number, handler in _before.items():
            signal.signal(number, handler)
        _before.clear()
        _callbacks.clear()
        _started.clear()
        _received, _raised = 0, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
