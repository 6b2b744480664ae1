"""A circuit breaker for each endpoint: one that fails is asked now and then, not by every delivery that waits for it.

While it is open, deliveries are put back without a try, so that what is queued outlives an outage of the receiver. One
worker process has its own; it asks a failing endpoint once in each wait, which grows to ten minutes.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from errand.job.control import Snooze

LOOKED_AT = 20
"""How many of the latest attempts decide."""
LEAST = 10
"""With fewer attempts than this nothing is decided."""
SHARE = 0.5
"""It opens if this part of them failed."""
FIRST_WAIT_S, LAST_WAIT_S = 30.0, 600.0


class Breaker:
    """What is known of one endpoint."""

    def __init__(self) -> None:
        self._latest: deque[bool] = deque(maxlen=LOOKED_AT)
        self._open_until_s: float | None = None
        self._wait_s = FIRST_WAIT_S
        self._probing = False

    @contextmanager
    def attempt(self, name: str) -> Iterator[WatchedAttempt]:
        """Around one attempt. Raises Snooze if it is open, and no probe is due."""
        attempt = WatchedAttempt(probe=self._enter(name))
        try:
            yield attempt
        finally:
            if attempt.probe:
                self._probing = False
            if attempt.ok is not None:
                self._note(attempt.ok, probe=attempt.probe)

    def _enter(self, name: str) -> bool:
        """Whether the attempt is a probe."""
        if self._open_until_s is None:
            return False
        left_s = self._open_until_s - time.monotonic()
        if left_s > 0 or self._probing:
            after_s = max(left_s, 1.0) + random.uniform(0, self._wait_s)  # noqa: S311  # not all at once
            raise Snooze(f"{name} fails, and is asked again later", after_s=after_s, code="endpoint_failing")
        self._probing = True
        return True

    def _note(self, ok: bool, *, probe: bool) -> None:
        if self._open_until_s is not None:
            if ok:
                self.__init__()  # type: ignore[misc]  # as new: what failed before does not count any more
            elif probe:  # others that fail now started before it opened, and say nothing new
                self._wait_s = min(self._wait_s * 2, LAST_WAIT_S)
                self._open_until_s = time.monotonic() + self._wait_s
            return
        self._latest.append(ok)
        if len(self._latest) >= LEAST and self._latest.count(False) >= SHARE * len(self._latest):
            self._open_until_s = time.monotonic() + self._wait_s


class WatchedAttempt:
    """What became of one attempt."""

    def __init__(self, *, probe: bool) -> None:
        self.probe = probe
        self.ok: bool | None = None
        """None if nothing was learnt: it was put back, or its worker stopped."""


class Breakers:
    """Those of one worker process, by endpoint."""

    def __init__(self) -> None:
        self._breakers: dict[str, Breaker] = {}

    def of(self, endpoint_id: str) -> Breaker:
        """The endpoint's own. Those of deleted endpoints stay: there are at most as many as endpoints were made."""
        return self._breakers.setdefault(endpoint_id, Breaker())
