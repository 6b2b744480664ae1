"""A process of the pool, from its first step on: what it is free of, what it may use, how it ends.

It runs native code on bytes that strangers have sent. The settings of the worker that it was started from are none of
its business: what looks like a secret in its environment is wiped before the first computation. On Linux it can open no
socket and start no program from then on.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import re
import resource
import signal
import threading
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

from errand import heap
from errand.resources import no_network

T = TypeVar("T")

MEBIBYTE = 1024**2

NICE = 10
"""Computations yield the processor to the event loops of API and worker, which need it only for moments."""

SECRET_NAME = re.compile("SECRET|TOKEN|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE|ACCOUNT)_?KEY|SAS|DSN|_URL$", re.IGNORECASE)
"""Names such as API_KEYS, REDIS_URL, AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_KEY, SENTRY_DSN, PGPASSWORD."""
SECRET_VALUE = re.compile(r"://[^/@]*:[^/@]*@|-----BEGIN|whsec_")
"""URLs with a password, keys in PEM, secrets of webhooks."""


def start(memory_limit_bytes: int | None) -> None:
    """The first call in each process; it may have so much memory beside what it starts with."""
    os.nice(NICE)
    heap.use_one()
    # as much as a photo takes that is made smaller: the next one finds it here
    heap.keep_freed(16 * MEBIBYTE, of_pieces_below_bytes=4 * MEBIBYTE)
    if memory_limit_bytes is not None:
        _limit_memory(memory_limit_bytes)
    # Ctrl-C in a terminal, and its end, reach every process of the group: only the worker acts on them
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wipe_secrets()
    no_network.forbid()
    threading.Thread(target=_end_with_worker, daemon=True).start()


def compute(function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """Calls the function; a limit that it set itself ends with it."""
    _leave_alone_what_is_here()
    try:
        return function(*args, **kwargs)
    finally:
        limit_cpu_time(0)


@cache
def _leave_alone_what_is_here() -> None:
    """Has the garbage collector look through new objects only: the modules of the first computation stay."""
    gc.freeze()


def limit_cpu_time(seconds: float) -> None:
    """Called by a computation: kills its process once it has used that many more seconds of CPU time.

    Time on the clock would depend on what else the machine does. A further call replaces the limit; it ends with the
    computation. The kernel does it, so that no native code can be in the way. Elsewhere than in a pool it does nothing.
    """
    if multiprocessing.parent_process() is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(limit_bytes: int) -> None:
    """Bounds the address space, if the system can: what is mapped already does not count."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + limit_bytes,) * 2)
    except (OSError, ValueError):  # macOS has neither
        return


def wipe_secrets() -> None:
    """Takes what is or may be a secret out of the environment, and out of the memory that it was handed over in."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    for name, value in list(os.environ.items()):
        if SECRET_NAME.search(name) or SECRET_VALUE.search(value):
            # else /proc/<pid>/environ would still show it
            if address := libc.getenv(os.fsencode(name)):
                ctypes.memset(address, 0, len(os.fsencode(value)))
            del os.environ[name]


def _end_with_worker() -> None:
    """A worker that was killed cannot stop its processes: they end themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
