"""Whether a server has for good what was written to it: its replicas too, and its disk, and it is still the same one.

A failover gives the place of a server to one of its replicas, which may not have the last writes.
"""

from __future__ import annotations

import asyncio

from arq.connections import ArqRedis
from redis.exceptions import NoPermissionError

from errand.move.values import ask
from errand.redis.durability import grade_of
from errand.redis.server import read_server
from errand.wire import keys
from errand.wire.move_record import MoveRecord

WAIT_MS = 30_000
"""How long replicas are waited for: they may be far behind after a large copy."""

EVERYSEC_S = 2.0
"""By then a server with `appendfsync everysec` has written to its disk what it had when it was asked."""


class NotConfirmed(Exception):
    """In words for people: why it is not known that the server keeps all of it."""


async def run_id_of(redis: ArqRedis) -> str | None:
    """That of this start of this server; None if it does not say."""
    try:
        run_id: str | None = (await redis.info("server")).get("run_id")
    except NoPermissionError:
        return None
    return run_id


class Keeping:
    """How one server keeps what it is given, from the beginning of a move on."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._replicas = 0
        """The most that were seen in step: an old master that was left alone has none."""

    async def look(self) -> None:
        """Sees how many replicas there are."""
        self._replicas = max(self._replicas, (await read_server(self._redis)).live_replicas)

    async def confirm(self, record: MoveRecord) -> None:
        """Writes the record in place of the one there, and returns when it and all before it is kept.

        Raises NotConfirmed, and redis' errors.
        """
        await self.look()
        # WAIT is about the last write of its own connection
        wait = [("WAIT", self._replicas, WAIT_MS)] if self._replicas else []
        written, *have = await ask(self._redis, [("SET", keys.MOVE, record.dumps(), "XX"), *wait])
        if written is None:
            raise NotConfirmed("another 'errand move' has completed this move, or cancelled it")
        if have and have[0] < self._replicas:
            said = f"{have[0]} of its {self._replicas} replicas have all of it"
            raise NotConfirmed(f"{said}: run 'errand move' again when all have")
        if grade_of(await read_server(self._redis)) == "fsync-everysec":
            await asyncio.sleep(EVERYSEC_S)
