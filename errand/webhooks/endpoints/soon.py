"""Writes to Redis a moment later what many deliveries have to say, in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import RedisError

from errand.redis.outage import missed

log = structlog.get_logger("errand.webhooks")


WRITE_EVERY_S = 0.1
"""By a call for each delivery a worker would spend a fifth of its time on them."""


@contextmanager
def news() -> Iterator[None]:
    """For what Redis may refuse, or miss while it is away: no delivery fails because what became of it is not kept."""
    try:
        with missed():
            yield
    except RedisError:
        log.exception("what became of deliveries cannot be written down")


class Soon:
    """Calls `write` a moment after the first that asked for it; what others have to say by then goes with it."""

    def __init__(self, write: Callable[[], Awaitable[None]]) -> None:
        self._write = write
        self._later: asyncio.Task[None] | None = None
        """The write that is still to come."""
        self._under_way: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        """There is something to write."""
        if self._later is None:
            self._later = asyncio.create_task(self._write_later())

    async def now(self) -> None:
        """Writes it, or loses it."""
        with news():
            await self._write()

    async def close(self) -> None:
        """Writes what is still to be written; returns when what was under way is written, too."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self.now()

    async def _write_later(self) -> None:
        await asyncio.sleep(WRITE_EVERY_S)
        if (writing := self._later) is not None:
            self._under_way.add(writing)
            writing.add_done_callback(self._under_way.discard)
        self._later = None
        await self.now()
