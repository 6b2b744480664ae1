"""Ends a process when its parent ends, so that a killed `errand run` leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import threading

FLAG = "--end-with-stdin"
"""The argument with which a parent asks for that; the parent holds the other end of the child's standard input."""


def hold() -> None:
    """If the process was started with the flag: sends it SIGTERM when its standard input closes."""
    if FLAG in sys.argv:
        threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    # not sys.stdin: a thread blocked in it would hold its lock while the interpreter shuts down
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
