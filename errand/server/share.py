"""How much of the loop's time a connection may use for bytes that nobody waits for, such as requests sent ahead.

What a client sends without end is parsed at no more than this share; in between its connection rests, unread, and its
own machine has to keep what it has sent. A client that awaits its answers is never held up by this.
"""

from __future__ import annotations

SHARE = 0.02
"""Of the time that goes by: five clients at it together take a tenth of the loop. Parsing takes about 30 µs for a
request, so that one who pipelines may send some hundreds a second."""

AT_ONCE_S = 0.002
"""So much a connection may use in one go, and again after so long a rest as makes that its share."""


class Share:
    """That of one connection."""

    def __init__(self) -> None:
        self._left_s = AT_ONCE_S
        self._at_s = 0.0

    def use(self, used_s: float, *, at_s: float) -> float:
        """Counts so much processor time, up to now; returns for how long the connection must rest, or 0."""
        earned_s = max(at_s - used_s - self._at_s, 0) * SHARE
        self._left_s = min(self._left_s + earned_s, AT_ONCE_S) - used_s
        self._at_s = at_s
        return max(-self._left_s, 0) / SHARE
