"""A connection to the queues of one Redis, for programs that put jobs: opened once, shared by all that they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

from arq.connections import ArqRedis

from errand.queue.partitioned import JobQueue, queue_in
from errand.redis import embedded as embedded_redis
from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.durability import Durability, all_watched
from errand.redis.outage import REDIS_DEADLINE_S, REPLY_TIMEOUT_S
from errand.settings import Settings
from errand.tracing import switch

_INSTEAD: list[str] = []
"""URLs that replace the Redis of all settings, for tests. The last one counts."""


@contextmanager
def instead(url: str) -> Iterator[None]:
    """In the block, every new connection of this process goes to this URL, whatever the settings say. For tests."""
    _INSTEAD.append(url)
    try:
        yield
    finally:
        _INSTEAD.remove(url)


class Connected:
    """The queues of one Redis. It makes each when a caller first names it."""

    def __init__(self, partitions: Partitions, *, durabilities: Sequence[Durability], ended_ttl_s: float) -> None:
        """`durabilities`: of each partition. `ended_ttl_s`: how long a cancelled job is kept."""
        self.partitions = partitions
        self.redis = partitions.first
        self._durabilities = durabilities
        self._ended_ttl_s = ended_ttl_s
        self._queues: dict[tuple[str, int], JobQueue] = {}

    def queue(self, name: str, *, limit: int = 0) -> JobQueue:
        """The queue of that name, which takes jobs while it has fewer than `limit`; 0 without a limit."""
        if (name, limit) not in self._queues:
            self._queues[name, limit] = queue_in(
                self.partitions,
                self._durabilities,
                name=name,
                ended_ttl_s=self._ended_ttl_s,
                deadline_s=REDIS_DEADLINE_S,
                limit=limit,
            )
        return self._queues[name, limit]


@asynccontextmanager
async def opened(settings: Settings, *, redis_url: str | None = None) -> AsyncIterator[Connected]:
    """Connects with these settings, or to `redis_url` if it is given. Redis may be away and come later."""
    switch.by_program()
    async with (
        redis_of(settings, redis_url) as url,
        partitions.opened(url, number=settings.queue_partitions, reply_timeout_s=REPLY_TIMEOUT_S) as found,
    ):
        durabilities = durabilities_of(found.clients, settings)
        # no answer shows the durability of these jobs; the server is read only to know which replicas live
        async with all_watched(durabilities if settings.replicas else ()):
            yield Connected(found, durabilities=durabilities, ended_ttl_s=settings.result_ttl_s)


def durabilities_of(clients: Iterable[ArqRedis], settings: Settings) -> list[Durability]:
    """What stands behind the jobs of each partition."""
    replicas, timeout_ms = settings.replicas, settings.replication_timeout_ms
    return [Durability(client, replicas=replicas, timeout_ms=timeout_ms) for client in clients]


@asynccontextmanager
async def redis_of(settings: Settings, url: str | None = None) -> AsyncIterator[str]:
    """The URL of the Redis to use: `url`, else that of the settings, else the embedded Redis, joined for the block."""
    if url is None and _INSTEAD:
        url = _INSTEAD[-1]
    if url is None and settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
    with ExitStack() as membership:
        if url is None:
            # in a thread: it blocks until the embedded Redis answers
            embedded = embedded_redis.joined(settings.data_dir, fsync=settings.embedded_fsync)
            url = await asyncio.to_thread(membership.enter_context, embedded)
        yield url
