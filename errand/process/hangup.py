"""SIGHUP: a request to read the keys again, as from `kill -HUP`, or the news that the terminal has gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

STDIN = 0


def on_hangup(*, reload: Callable[[], None], stop: Callable[[], None]) -> None:
    """From now on SIGHUP calls `reload`; or `stop`, if this process was started in a terminal that is not there now."""
    in_terminal = _is_terminal()

    def receive(*_: object) -> None:
        stop() if in_terminal and not _is_terminal() else reload()

    signal.signal(signal.SIGHUP, receive)


def _is_terminal() -> bool:
    with suppress(OSError):
        return os.isatty(STDIN)
    return False
