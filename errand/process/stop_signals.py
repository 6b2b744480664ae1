"""Counts the signals that a parent of other processes receives, so that it looks at them when it has the time."""

from __future__ import annotations

import signal

from errand.process.hangup import on_hangup


class StopSignals:
    """Counts SIGINT and SIGTERM, and SIGHUP apart from them.

    The count is a plain attribute that is looked at from time to time. An Event takes a lock, and the signal may arrive
    while that lock is held.
    """

    def __init__(self) -> None:
        self.count = 0
        self.hangups = 0
        """How often the API is to read its keys again."""
        on_hangup(reload=self._receive_hangup, stop=self._receive)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, *_: object) -> None:
        self.count += 1

    def _receive_hangup(self) -> None:
        self.hangups += 1
