"""What time it is on the server of Redis, as its latest answer said: what is kept of a job goes by that clock alone."""

from __future__ import annotations

import time

FRESH_S = 60.0
"""An answer is believed for so long: clocks drift, and the server's may be set."""


class ServerClock:
    """The clock of one server. It is never ahead of the true one by more than that has been set back since."""

    def __init__(self) -> None:
        self._known: tuple[int, float] | None = None

    def learn(self, now_ms: int) -> None:
        """An answer of the server has just come, and says what time it was there (ms since the epoch)."""
        self._known = now_ms, time.monotonic()

    def at_ms(self, moment_s: float) -> int:
        """What time it is there at a moment of the monotonic clock, or just before; 0 if that is not known."""
        if self._known is None:
            return 0
        now_ms, known_s = self._known
        return int(now_ms + (moment_s - known_s) * 1000) if time.monotonic() - known_s < FRESH_S else 0
