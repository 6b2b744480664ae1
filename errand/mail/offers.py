"""What mail servers offered when a worker last spoke with them, so that no address is taken that none of them can take.

Only SMTPUTF8 (RFC 6531) is asked for: a letter to an address with characters beyond ASCII before the @ would be taken
and then fail. A server may offer something else tomorrow, so what was seen counts for an hour; a server that nobody has
spoken with lately is given the benefit of the doubt.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from redis.asyncio import Redis

from errand.redis.outage import missed
from errand.wire import keys

KEPT_S = 3600
NOTED_AGAIN_S = 60.0
"""A worker writes down what it has seen this often, unless something has changed."""
OFFERED, NOT_OFFERED = b"1", b"0"


class MailServerOffers:
    """As one process reads and writes them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._noted: dict[str, tuple[bytes, float]] = {}
        """What was written of each server, and when."""

    async def note(self, url: str, extensions: Collection[str]) -> None:
        """The server at that URL has offered these. Missed while Redis is away."""
        server, seen = server_of(url), OFFERED if "SMTPUTF8" in extensions else NOT_OFFERED
        noted, at_s = self._noted.get(server, (b"", 0.0))
        if seen != noted or time.monotonic() - at_s > NOTED_AGAIN_S:
            with missed():
                await self._redis.set(keys.takes_smtputf8(server), seen, ex=KEPT_S)
                self._noted[server] = seen, time.monotonic()

    async def none_takes_smtputf8(self, urls: Sequence[str]) -> bool:
        """True if none of these servers has offered SMTPUTF8 when it was last spoken with. Raises redis' errors."""
        if not urls:
            return False
        seen = await self._redis.mget([keys.takes_smtputf8(server_of(url)) for url in urls])
        return all(each == NOT_OFFERED for each in seen)


def server_of(url: str) -> str:
    """Host and port of a mail server, without the credentials that its URL may hold."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'localhost'}:{parts.port or parts.scheme}"
