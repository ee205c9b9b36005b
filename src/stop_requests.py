"""Requests to stop: Ctrl-C, SIGTERM, and SIGUSR1, by which Slurm and others announce the end of a job.

Training that has computed something answers them: it saves after the step that it is in, and ends. At all other times
they end the program at once. A thread waits for them, because Python's own handlers wait until a program is compiled.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_SECONDS_TO_ANSWER = 25  # after SIGTERM, which SIGKILL often follows after 30
_SECONDS_OF_ONE = 0.5  # a terminal and `uv run` may both pass on the same Ctrl-C


class Interrupted(BaseException):
    """A request that arrived within `interruptible`; no handler of ordinary errors takes it for one."""


class _State:
    """The first request, whether the program looks for one, whether it may be raised, and whether it is answered."""

    first: signal.Signals | None = None
    deferred = interruptible = answered = False
    wakeup = -1


_state = _State()


def listen() -> None:
    """From now on requests are heard. Call it in the main thread, and again after a library that takes signals too."""
    if _state.wakeup == -1:
        source, target = socket.socketpair()
        target.setblocking(False)
        _state.wakeup = target.detach()
        threading.Thread(target=_watch, args=(source,), daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(_state.wakeup, warn_on_full_buffer=False)


def defer(deferred: bool = True) -> None:
    """From now on there is something to save, so a request waits until the program looks for it; or no longer."""
    _state.deferred = deferred


def asked() -> signal.Signals | None:
    """The signal that has asked the program to stop, if one has."""
    return _state.first


def answer() -> None:
    """The program saves and ends; from now on nothing but a second Ctrl-C ends it sooner."""
    _state.answered = True


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """A block that only computes, after `defer`.

    Raises:
      Interrupted: when a request arrives within it, or has arrived before.
    """
    _state.interruptible = True
    try:
        if _state.first:
            raise Interrupted
        yield
    finally:
        _state.interruptible = False


def describe(number: int) -> str:
    """What a person calls a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _interrupt(number: int, frame: object) -> None:
    _state.first = _state.first or signal.Signals(number)
    if _state.deferred and _state.interruptible:
        raise Interrupted


def _watch(source: socket.socket) -> None:
    deadline = interrupted = None
    while True:
        source.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        try:
            numbers = source.recv(64)
        except TimeoutError:
            deadline = None
            if not _state.answered:
                _end(signal.SIGTERM)
            continue
        now = time.monotonic()
        for number in filter(SIGNALS.__contains__, numbers):
            again = number == signal.SIGINT and interrupted is not None and now - interrupted > _SECONDS_OF_ONE
            if again or not _state.deferred:
                _end(number)
            _state.first = _state.first or signal.Signals(number)
            if number == signal.SIGINT and interrupted is None:
                interrupted = now
            if number == signal.SIGTERM and deadline is None:
                deadline = now + _SECONDS_TO_ANSWER


def _end(number: int) -> None:
    """Ends the program, whatever its other threads do."""
    name = pathlib.Path(sys.argv[0]).name
    line = (
        f"{name}: ended by {describe(number)}; nothing was saved now, and the same command continues from the latest "
        "checkpoint, if there is one\n"
    )
    os.write(2, line.encode())
    os._exit(128 + number)
