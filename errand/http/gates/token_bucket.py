"""Lets each client make so many requests in a time, counted in Redis for all API processes together.

A bucket holds the quota and refills steadily. A process takes what its waiting requests need in one call, and if
the limit is high, a tenth of a second's worth at once, which it then gives out without asking. In all never more is
given than the quota and what has refilled since. What a process holds may be used up to a second later than it was
taken: by so much, a tenth of a second's worth for each process, the count of a window may be off. Below twenty
requests a second nothing is held, and the count is exact.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from redis.asyncio import Redis

from errand.redis import script
from errand.redis.outage import within
from errand.wire import keys

HELD_WORTH_S = 0.1


MAX_HELD_S = 1.0


MAX_CLIENTS = 10_000
"""Above this number, clients that hold nothing are forgotten here; Redis still knows them."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may still do: `left` requests, or the next one in `wait_s` seconds."""

    left: int
    wait_s: float


class OverLimit(Exception):
    """The client has used its quota up."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(f"the next request is possible in {allowance.wait_s:g} s")
        self.allowance = allowance


@dataclass(slots=True)
class _Client:
    """What this process knows of a client. Times are of the monotonic clock."""

    held: int = 0
    held_until_s: float = 0.0
    left: int = 0
    """What was left in Redis when it was asked last."""
    refused_until_s: float = 0.0
    waiting: list[asyncio.Future[Allowance]] = field(default_factory=list)
    asking: asyncio.Task[None] | None = None


class RateLimit:
    """One limit, the same for every client."""

    def __init__(self, redis: Redis, *, quota: int, window_s: float, deadline_s: float | None = None) -> None:
        """`quota` requests in `window_s` seconds. `deadline_s`: the longest that asking Redis may take."""
        self.quota = quota
        self.window_s = window_s
        self._deadline_s = deadline_s
        self._interval_us = window_s * 1_000_000 / quota
        self._held_at_most = int(quota / window_s * HELD_WORTH_S)
        self._take = script.load(redis, "http/gates/token_bucket")
        self._clients: dict[str, _Client] = {}

    async def take(self, client: str) -> Allowance:
        """Counts a request of that client and returns what is left.

        Raises OverLimit if nothing was, and redis' errors if Redis is away.
        """
        known = self._clients.get(client)
        if known is None:
            known = self._new_client(client)
        now_s = time.monotonic()
        if known.held and now_s < known.held_until_s:
            known.held -= 1
            return Allowance(known.held + known.left, 0)
        if now_s < known.refused_until_s:
            # nothing has refilled since it was asked: a flood is not passed on to Redis
            raise OverLimit(Allowance(0, known.refused_until_s - now_s))
        answer: asyncio.Future[Allowance] = asyncio.get_running_loop().create_future()
        known.waiting.append(answer)
        if known.asking is None:
            known.asking = asyncio.ensure_future(self._ask(client, known))
        return await answer

    async def _ask(self, client: str, known: _Client) -> None:
        """One call after another, each for all requests that came during the one before."""
        try:
            while known.waiting:
                asking, known.waiting = known.waiting, []
                try:
                    taken, left, wait_ms = await within(self._deadline_s, self._taken(client, len(asking)))
                except BaseException as error:  # every request is answered, also by a process that ends
                    asking, known.waiting = [*asking, *known.waiting], []
                    for answer in asking:
                        if not answer.done():
                            answer.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
                else:
                    self._give(known, asking, taken=taken, left=left, wait_s=wait_ms / 1000)
        finally:
            known.asking = None

    async def _taken(self, client: str, requests: int) -> list[int]:
        most = max(requests, self._held_at_most)
        answer: list[int] = await self._take(keys=[keys.rate_limit(client)], args=[self._interval_us, self.quota, most])
        return answer

    def _give(
        self, known: _Client, asking: list[asyncio.Future[Allowance]], *, taken: int, left: int, wait_s: float
    ) -> None:
        """To each request in its order what was taken for it; the rest is held."""
        # a client that has gone needs none
        here = [answer for answer in asking if not answer.done()]
        now_s = time.monotonic()
        known.held, known.left, known.held_until_s = max(taken - len(here), 0), left, now_s + MAX_HELD_S
        for position, answer in enumerate(here):
            if position < taken:
                answer.set_result(Allowance(taken - position - 1 + left, 0))
            else:
                known.refused_until_s = now_s + wait_s
                answer.set_exception(OverLimit(Allowance(0, wait_s)))

    def _new_client(self, client: str) -> _Client:
        if len(self._clients) >= MAX_CLIENTS:
            self._clients = {
                name: known for name, known in self._clients.items() if known.asking is not None or known.held
            }
        self._clients[client] = known = _Client()
        return known
