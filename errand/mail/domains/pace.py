"""How many letters a recipient domain gets in a time, and over how many connections at once, as the settings say."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from errand.job.control import Snooze
from errand.redis import script
from errand.redis.outage import Outage
from errand.settings.mail import DomainRate
from errand.wire import keys

if TYPE_CHECKING:
    from errand.job.context import Context

NEXT_LOOK_S = 0.25
"""Letters that wait for one of a domain's connections look again one after another, so far apart."""


LONGEST_LOOK_S = 60.0


@dataclass
class DomainConnections:
    """Those of this worker that each domain holds now."""

    limit: int | None
    """None: as many as there are."""
    _held: Counter[str] = field(default_factory=Counter)
    _next_look_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def one_for(self, domain: str) -> Iterator[None]:
        """Raises Snooze if the domain holds all that it may."""
        if self.limit is not None and self._held[domain] >= self.limit:
            reason = f"{domain} holds {self.limit} connections"
            raise Snooze(reason, after_s=self._until_next_look_s(domain), code="domain_busy")
        self._held[domain] += 1
        try:
            yield
        finally:
            self._held[domain] -= 1
            if not self._held[domain]:
                del self._held[domain]
                self._next_look_s.pop(domain, None)

    def _until_next_look_s(self, domain: str) -> float:
        now_s = time.monotonic()
        look_s = max(self._next_look_s.get(domain, 0.0), now_s + 1) + NEXT_LOOK_S
        self._next_look_s[domain] = min(look_s, now_s + LONGEST_LOOK_S)
        return min(look_s - now_s, LONGEST_LOOK_S)


class DomainRates:
    """Moments for letters, given out in Redis for all workers together: a letter that waits has its own, and returns
    then."""

    def __init__(self, redis: Redis, rates: Mapping[str, DomainRate]) -> None:
        self._redis, self._rates = redis, rates
        self._reserve = script.load(redis, "mail/domains/reserve")

    async def admit(self, ctx: Context, domain: str) -> None:
        """Raises Snooze until the letter's moment. Waits for a Redis that is away."""
        rate = self._rates.get(domain) or self._rates.get("*")
        if rate is None:
            return
        turn = await ctx.once("turn")
        if not turn.value:
            wait_s = await Outage().outlast(partial(self._reserved_s, domain, rate))
            if wait_s == 0:
                return
            await turn.finish(await self._now_s() + wait_s)
            raise _paced(domain, wait_s)
        if (left_s := turn.value - await self._now_s()) > 0:
            raise _paced(domain, left_s)
        await turn.finish(0)  # the next attempt, if there is one, takes another

    async def _now_s(self) -> float:
        """By the clock of Redis, which all workers share: with its own, one an hour behind would hold letters."""
        seconds, micros = await Outage().outlast(self._redis.time)
        return float(seconds + micros / 1_000_000)

    async def _reserved_s(self, domain: str, rate: DomainRate) -> float:
        interval_us = rate.window_s * 1_000_000 / rate.quota
        # a second's worth after a rest, and not the whole window's: receivers count by the second
        burst = max(math.floor(rate.quota / rate.window_s), 1)
        wait_ms: int = await self._reserve(keys=[keys.domain_rate(domain)], args=[interval_us, burst])
        return wait_ms / 1000


def _paced(domain: str, wait_s: float) -> Snooze:
    return Snooze(f"{domain} gets no more letters in this time", after_s=wait_s, code="domain_paced")
