"""Ends a process with the one that started it, so that a killed supervisor leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import threading

FLAG = "--end-with-stdin"


def hold() -> None:
    """Where this program was started with the flag: stops it, as SIGTERM does, when its standard input closes."""
    if FLAG in sys.argv:
        threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    # not sys.stdin: a thread blocked in it would hold its lock while the interpreter shuts down
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
