"""Recipient domains that asked for less mail: letters to one of them wait, those to all others go on.

A provider that answers 4.7.x means the sender ("too many messages from your address", "deferred due to complaints").
More tries, from as many letters as there are, would only make it stricter; and the letters are not at fault.
"""

from __future__ import annotations

import math
import random
import re
import time
from dataclasses import dataclass

from redis.asyncio import Redis

from errand.mail.verdict import Refusal, Stage
from errand.wire import codec, keys

FIRST_PAUSE_S = 60.0


LONGEST_PAUSE_S = 3600.0


REMEMBERED_S = 4 * 3600
"""How long a pause makes the next one longer; then the domain is like any other."""


GREYLISTING = re.compile(r"gr[ae]y.?list", re.IGNORECASE)
"""It is about one sender and one recipient; the next recipient may be known."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Of one domain: how long it lasts yet, 0 if it is over, and the how manyth in a row."""

    rest_s: float
    number: int

    @property
    def left_s(self) -> float:
        """With a share of chance on top: letters that wait together must not return together."""
        return self.rest_s * random.uniform(1.0, 1.2)  # noqa: S311


class SlowDomains:
    """Those of all workers, in Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def pause_of(self, domain: str) -> Pause | None:
        """None for a domain that has not asked for less lately."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.get(keys.slow_domain(domain))
            pipeline.pttl(keys.slow_domain(domain))
            kept, left_ms = await pipeline.execute()
        if kept is None:
            return None
        fields = codec.loads(kept)
        # not by `until_s`, which is of the clock of the worker that wrote it
        rest_s = left_ms / 1000 - REMEMBERED_S
        was_set_back = rest_s > fields.get("pause_s", math.inf) + 1
        return Pause(0.0 if was_set_back else max(rest_s, 0.0), fields["number"])

    async def slow_down(self, domain: str, *, at_least_s: float = 0.0) -> Pause:
        """A pause of a minute, or twice as long as the last one; no second one while one lasts."""
        known = await self.pause_of(domain)
        if known is not None and known.left_s > 0:
            return known
        number = known.number + 1 if known else 1
        pause_s = max(min(FIRST_PAUSE_S * 2 ** min(number - 1, 10), LONGEST_PAUSE_S), at_least_s)
        fields = {"until_s": time.time() + pause_s, "pause_s": pause_s, "number": number}
        await self._redis.set(keys.slow_domain(domain), codec.dumps(fields), px=int((pause_s + REMEMBERED_S) * 1000))
        return Pause(pause_s, number)

    async def is_fine(self, domain: str) -> None:
        """It took a letter again."""
        await self._redis.delete(keys.slow_domain(domain))


def asks_for_less(error: Refusal) -> bool:
    """True for a 4.7.x that is not greylisting, once the recipient is known; before, it is the mail server's own."""
    reply = error.reply if error.stage >= Stage.RCPT else None
    said = reply.enhanced if reply is not None else None
    return said is not None and said.startswith("4.7.") and not GREYLISTING.search(reply.text if reply else "")
