"""Waits for processes that others have left, if this is the first process of a container: nobody else does.

A process whose parent has died becomes a child of the container's first one. When it ends it keeps its place among the
processes until that has asked for its end: each worker that is killed leaves some, and a container may have few places.
"""

from __future__ import annotations

import os
from collections.abc import Collection

FIRST = 1
"""The number of a container's first process, to itself."""


def reap(own: Collection[int], *, first: int = FIRST) -> None:
    """Asks for the ends of children that have ended; not of `own` ones, by their numbers: others ask for those."""
    if os.getpid() != first or not hasattr(os, "waitid"):
        return
    while (ended := _next_ended()) is not None and ended not in own:
        os.waitpid(ended, 0)


def _next_ended() -> int | None:
    """A child that has ended; it stays one that can be asked for."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # there is none
        return None
    return None if ended is None else ended.si_pid
