"""A circuit breaker for each endpoint: one that fails is asked now and then, not by every delivery that waits for it.

While it is open, deliveries are put back without a try, so that what is queued outlives an outage of the receiver. One
worker process has its own; it asks a failing endpoint once in each wait, which grows to ten minutes (`waiting.py`).
"""

from __future__ import annotations

import time
from collections import deque

from errand.job.control import Snooze
from errand.webhooks.turns.receivers import FarOff, endpoint_name

LOOKED_AT = 20
"""How many of the latest attempts decide."""
LEAST = 10
"""With fewer attempts than this nothing is decided."""
SHARE = 0.5
"""It opens if this part of them failed."""
FIRST_WAIT_S, LAST_WAIT_S = 30.0, 600.0


def failing(name: str, *, after_s: float) -> Snooze:
    """Why a delivery to an endpoint whose breaker is open is put back."""
    reason = f"{name} fails, and is asked again later"
    return Snooze(reason, after_s=after_s, code="endpoint_failing", waits_for=name)


class Breaker:
    """What is known of one endpoint."""

    def __init__(self, far_off: FarOff | None = None) -> None:
        self._far_off = far_off or FarOff()
        self._latest: deque[bool] = deque(maxlen=LOOKED_AT)
        self._open_until_s: float | None = None
        self._wait_s = FIRST_WAIT_S
        self._probing = False

    def attempt(self, name: str) -> WatchedAttempt:
        """Around one attempt, `with`. Raises Snooze if it is open, and no probe is due."""
        return WatchedAttempt(self, name)

    @property
    def admits(self) -> int | None:
        """How many attempts may start now; None: as many as there are."""
        if self._open_until_s is None:
            return None
        return 0 if self._probing or self._open_until_s > time.monotonic() else 1

    def enter(self, name: str) -> bool:
        """Whether the attempt that starts is a probe. Raises Snooze."""
        admits = self.admits
        if admits == 0:
            raise failing(name, after_s=self._far_off.take_s())
        self._probing = admits is not None
        return self._probing

    def leave(self, *, ok: bool | None, probe: bool) -> None:
        """That attempt has ended; `ok` is None if nothing was learnt."""
        if probe:
            self._probing = False
        if ok is not None:
            self._note(ok, probe=probe)

    def _note(self, ok: bool, *, probe: bool) -> None:
        if self._open_until_s is not None:
            if ok:
                self.__init__(self._far_off)  # type: ignore[misc]  # as new: what failed before does not count any more
            elif probe:  # others that fail now started before it opened, and say nothing new
                self._wait_s = min(self._wait_s * 2, LAST_WAIT_S)
                self._open_until_s = time.monotonic() + self._wait_s
            return
        self._latest.append(ok)
        if len(self._latest) >= LEAST and self._latest.count(False) >= SHARE * len(self._latest):
            self._open_until_s = time.monotonic() + self._wait_s


class WatchedAttempt:
    """What became of one attempt."""

    __slots__ = ("_breaker", "_name", "_probe", "ok")

    def __init__(self, breaker: Breaker | None, name: str) -> None:
        self._breaker = breaker
        self._name = name
        self._probe = False
        self.ok: bool | None = None
        """None if nothing was learnt: it was put back, or its worker stopped."""

    def __enter__(self) -> WatchedAttempt:
        self._probe = self._breaker is not None and self._breaker.enter(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        if self._breaker is not None:
            self._breaker.leave(ok=self.ok, probe=self._probe)


class Breakers:
    """Those of one worker process, by endpoint."""

    def __init__(self, far_off: FarOff | None = None) -> None:
        """`far_off`: when what is put back is due again."""
        self._far_off = far_off or FarOff()
        self._breakers: dict[str, Breaker] = {}

    def attempt(self, endpoint_id: str | None) -> WatchedAttempt:
        """Around one attempt; a URL that is no endpoint's has no breaker.

        Those of deleted endpoints stay: there are at most as many as endpoints were made.
        """
        if endpoint_id is None:
            return WatchedAttempt(None, "")
        breaker = self._breakers.get(endpoint_id)
        if breaker is None:
            breaker = self._breakers[endpoint_id] = Breaker(self._far_off)
        return breaker.attempt(endpoint_name(endpoint_id))

    def admits(self, endpoint_id: str) -> int | None:
        """How many attempts may start now; None: as many as there are."""
        breaker = self._breakers.get(endpoint_id)
        return None if breaker is None else breaker.admits
