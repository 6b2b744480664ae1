"""A process of the pool, from its first step on: what it is free of, how it ends.

It runs native code on bytes that strangers have sent. The settings of the worker that it was started from are none of
its business: what looks like a secret in its environment is wiped before the first computation.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import threading
from multiprocessing.connection import wait

NICE = 10
"""Computations yield the processor to the event loops of API and worker, which need it only for moments."""

SECRET_NAME = re.compile("SECRET|TOKEN|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE|ACCOUNT)_?KEY|SAS|DSN|_URL$", re.IGNORECASE)
"""Names such as API_KEYS, REDIS_URL, AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_KEY, SENTRY_DSN, PGPASSWORD."""
SECRET_VALUE = re.compile(r"://[^/@]*:[^/@]*@|-----BEGIN|whsec_")
"""URLs with a password, keys in PEM, secrets of webhooks."""


def start() -> None:
    """The first call in each process."""
    os.nice(NICE)
    # Ctrl-C in a terminal reaches every process of the group: only the worker acts on it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wipe_secrets()
    threading.Thread(target=_end_with_worker, daemon=True).start()


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
