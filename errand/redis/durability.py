"""How safe a job is that was accepted: whether Redis has it on disk, and how many replicas have it.

If replicas are asked for, an enqueue is followed by WAIT in the same write on the same connection. WAITAOF, which
would say more, is not used. It makes a replica's answer wait for its next heartbeat, up to a second. And of the
server's own disk it says what is not so: under `appendfsync everysec` Redis 7.4 and Valkey 9.1 answer before they have
called fsync (redis/redis#13793; seen here: 29 such answers in 3 s, and 4 calls). If each job must be on
the disk, set `appendfsync always`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from errand.redis.outage import is_outage, lacks_right, missed, within
from errand.redis.server import ServerState, read_server

log = structlog.get_logger("errand.redis")


Grade = Literal["memory", "fsync-everysec", "fsync-always", "replicated"]


READ_EVERY_S = 5.0


FIRST_READING_LIMIT_S = 1.0


AWAY_PAUSE_S = 0.5


def grade_of(server: ServerState) -> Grade:
    """What the server's own disk stands for.

    `memory` also if it makes snapshots alone, leaves fsync to the kernel, or says nothing. If CONFIG is forbidden, an
    append-only file counts as `fsync-everysec`: Redis' default, and the least that services offer.
    """
    if not server.aof or server.fsync == "no":
        return "memory"
    return "fsync-always" if server.fsync == "always" else "fsync-everysec"


@contextlib.asynccontextmanager
async def all_watched(durabilities: Iterable[Durability]) -> AsyncIterator[None]:
    """Watches each of them for the block."""
    async with contextlib.AsyncExitStack() as stack:
        for durability in durabilities:
            await stack.enter_async_context(durability.watched())
        yield


class Durability:
    """What the server stands for, read again from time to time, and what to ask of its replicas."""

    def __init__(self, redis: Redis, *, replicas: int = 0, timeout_ms: int = 500) -> None:
        """`replicas`: how many must have a job (0: not asked); they are waited for `timeout_ms` at most."""
        self._redis = redis
        self._asked = replicas
        self._timeout_ms = timeout_ms
        self._grade: Grade = "memory"
        self._live_replicas = replicas
        """As many as the last reading saw; before the first one they are asked."""
        self._short = False
        """Fewer replicas than asked have a job; said once."""
        self._doubted = asyncio.Event()
        self._watching = False

    @property
    def grade(self) -> Grade:
        """The grade of the server itself, as far as it is known; the weakest if nothing is."""
        return self._grade

    @property
    def wait(self) -> tuple[str, int, int] | None:
        """The command to send behind an enqueue; None if no replicas are asked for, or if too few are known to live."""
        if not self._asked or self._live_replicas < self._asked:
            return None
        return ("WAIT", self._asked, self._timeout_ms)

    def grade_with(self, answer: Any) -> Grade:
        """The grade of an enqueue whose WAIT was answered so: a number of replicas, or an error.

        Raises that error if it means that the server may have lost the job: it is no primary any more.
        """
        if isinstance(answer, Exception) and is_outage(answer) and not lacks_right(answer):
            raise answer
        self._note_replicas(answer if isinstance(answer, int) else 0, refused=answer)
        return "replicated" if not self._short else self._grade

    def doubt(self) -> None:
        """Redis was away: nothing is known of the server that comes back until it has been read."""
        self._grade = "memory"
        self._doubted.set()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Reads the server in the background; the first reading is awaited for a second at most."""
        with missed():
            await within(FIRST_READING_LIMIT_S, self._read())
        self._watching = True
        reader = asyncio.create_task(self._read_on())
        try:
            yield
        finally:
            self._watching = False  # a cancellation may be swallowed, see `outage.within`
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read_on(self) -> None:
        while self._watching:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._doubted.wait(), READ_EVERY_S)
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001  # after any answer it is asked again
                log.debug("how the server keeps its data cannot be read", error=str(error))
                self._grade = "memory"
                await asyncio.sleep(AWAY_PAUSE_S)

    async def _read(self) -> None:
        server = await read_server(self._redis)
        self._doubted.clear()
        self._grade = grade_of(server)
        self._live_replicas = server.live_replicas if server.info else self._asked
        if self._asked and self._live_replicas < self._asked:
            self._note_replicas(self._live_replicas)

    def _note_replicas(self, number: int, *, refused: object = None) -> None:
        """Says once that they have become too few, and once that they are enough again."""
        was_short, self._short = self._short, number < self._asked
        if self._short and not was_short:
            why = {"error": str(refused)} if isinstance(refused, ResponseError) else {}
            log.warning("jobs are accepted with fewer replicas than asked", asked=self._asked, have=number, **why)
        elif was_short and not self._short:
            log.info("as many replicas as asked have what is accepted", asked=self._asked)
