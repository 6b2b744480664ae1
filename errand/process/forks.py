"""A job that forks cannot stop the worker: a child has none of the signal handling of the process that it comes from.

A fork copies the descriptor that wakes the event loop, and Python's signal handlers. A SIGTERM for the child, such as
`Process.terminate()` of multiprocessing or the end of a `Pool` sends, would be written there and read by the parent,
which would take it for its own and stop (cpython#94454). What is spawned or executed has neither.
"""

from __future__ import annotations

import os
import signal
import threading
from functools import cache

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What Errand's processes, uvicorn and event loops set handlers for."""


class _Fork(threading.local):
    """The fork that this thread is about to make: which signals were blocked before it."""

    blocked: set[int] = set()  # noqa: RUF012  # replaced, never changed


_fork = _Fork()


@cache
def isolate_children() -> None:
    """From now on each fork of this process handles signals as a process that has just started does."""
    os.register_at_fork(before=_block, after_in_child=_restore_defaults, after_in_parent=_unblock)


def _block() -> None:
    """A signal for a child that has just been made waits until the child is itself."""
    _fork.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _fork.blocked)


def _restore_defaults() -> None:
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        # one that is ignored (nohup) stays so, as it would in a process that is executed
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _unblock()
