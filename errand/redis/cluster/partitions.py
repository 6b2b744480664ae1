"""The partitions of an installation: each is a whole small installation, with a hash tag and a master of its own.

Several of them only in a cluster (`QUEUE_PARTITIONS`). A job lies in one partition with all that belongs to it, so
scripts, transactions and subscriptions work in it as on a single server. Partition 0 also has what is no job:
schedules, webhook endpoints, the audit trail and the like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from zlib import crc32

import structlog
from arq.connections import ArqRedis
from redis.exceptions import ResponseError

from errand.redis.connection import connect
from errand.redis.outage import REDIS_DEADLINE_S, is_outage, within
from errand.redis.repair import may_be_repaired
from errand.redis_url import RedisUrl
from errand.wire import keys
from errand.wire.job_id import new_job_ids

log = structlog.get_logger("errand.redis")


T = TypeVar("T")


LARGEST, NUMBER, CHANGED = "largest", "number", "changed"
"""The members of `errand:partitions`: the most that there ever were, how many there are now, and since when (in s)."""


MAX_PARTITIONS = 64
"""As many as `QUEUE_PARTITIONS` may be."""


LOOKED_FOR_S = 30 * 86_400
"""For so long after the number has changed, keys are looked for where another number had put them."""


class Partitions:
    """The clients of all partitions that may have jobs: partition 0 first, those that get no new ones last."""

    def __init__(self, clients: Sequence[ArqRedis], *, number: int | None = None, changed_s: float = 0.0) -> None:
        """`number`: how many of them get new jobs; all if it is not given. `changed_s`: since when, by the epoch."""
        self.clients = tuple(clients)
        self.number = len(self.clients) if number is None else number
        self._changed_s = changed_s

    @property
    def changed_lately(self) -> bool:
        """Another number has decided lately where keys and ids belong: what they name may lie there."""
        return len(self.clients) > 1 and time.time() < self._changed_s + LOOKED_FOR_S

    @property
    def first(self) -> ArqRedis:
        """Partition 0, which also has all that is no job."""
        return self.clients[0]

    def __len__(self) -> int:
        return len(self.clients)

    def number_of(self, text: str) -> int:
        """The number of the partition that a job's id, or a key, belongs to."""
        return crc32(text.encode()) % self.number if self.number > 1 else 0

    def of(self, job_id: str) -> ArqRedis:
        """Where a new job of that id goes, unless a key decides. `look_for` finds older ones."""
        return self.clients[self.number_of(job_id)]

    def of_key(self, key: str) -> ArqRedis:
        """Where a new job goes that has this idempotency key, or this unique key."""
        return self.clients[self.number_of(key)]

    def in_order(self, job_id: str) -> tuple[ArqRedis, ...]:
        """Where to look for a job: where its id says first. A key, its parent or another number may have decided."""
        likely = self.number_of(job_id)
        return (self.clients[likely], *self.clients[:likely], *self.clients[likely + 1 :])

    async def having(self, job_id: str) -> ArqRedis:
        """The client of the partition that has the job; where its id belongs if none has. Raises redis' errors.

        If there is one partition, no call is made.
        """
        if len(self.clients) == 1:
            return self.first

        async def has(client: ArqRedis) -> ArqRedis | None:
            return client if await client.exists(keys.body(job_id), keys.result(job_id)) else None

        return await self.look_for(job_id, has) or self.of(job_id)

    async def look_for(self, job_id: str, look: Callable[[ArqRedis], Awaitable[T | None]]) -> T | None:
        """What `look` finds of the job: where its id belongs, or else in all other partitions, which are asked at once.

        Raises redis' errors if it finds nothing, and a partition is away that may have it.
        """
        likely, *others = self.in_order(job_id)
        if (found := await look(likely)) is not None or not others:
            return found
        answers = await asyncio.gather(*map(look, others), return_exceptions=True)
        for answer in sorted(answers, key=lambda answer: isinstance(answer, BaseException)):
            if isinstance(answer, BaseException):
                raise answer
            if answer is not None:
                return answer
        return None

    def new_ids_of(self, client: ArqRedis) -> Callable[[int], list[str]] | None:
        """Draws ids that belong to that partition, so that their jobs are found at the first look.

        None if any id does: there is one partition, or no id belongs to that one any more.
        """
        number = self.clients.index(client)
        if self.number == 1 or number >= self.number:
            return None

        def draw(number_of_ids: int) -> list[str]:
            drawn: list[str] = []
            while left := number_of_ids - len(drawn):
                candidates = new_job_ids(left * self.number)
                drawn += [job_id for job_id in candidates if self.number_of(job_id) == number][:left]
            return drawn

        return draw

    async def aclose(self) -> None:
        await asyncio.gather(*(client.aclose() for client in self.clients))


@asynccontextmanager
async def opened(url: str, *, number: int, reply_timeout_s: float) -> AsyncIterator[Partitions]:
    """Connects to so many partitions, and to those that an installation with a larger number has left.

    Redis may be away, and come later. Outside a cluster there is one partition, whatever the number is.
    """
    clustered = RedisUrl.parse(url).by_cluster
    clients = [_client(url, partition, reply_timeout_s) for partition in range(number if clustered else 1)]
    changed_s = 0.0
    try:
        if clustered:
            largest, changed_s = await _history(clients[0], number)
            clients += [_client(url, partition, reply_timeout_s) for partition in range(number, largest)]
        yield Partitions(clients, number=number if clustered else 1, changed_s=changed_s)
    finally:
        await Partitions(clients).aclose()


def _client(url: str, partition: int, reply_timeout_s: float) -> ArqRedis:
    return connect(url, reply_timeout_s=reply_timeout_s, partition=partition)


async def _history(first: ArqRedis, number: int) -> tuple[int, float]:
    """The most partitions that the installation ever had, this number included; and when the number changed, in s.

    Both are noted in partition 0 if the number is another one than before. While that is away, it may have changed
    just now.
    """
    try:
        return await within(REDIS_DEADLINE_S, _noted(first, number))
    except Exception as error:
        if not is_outage(error):
            raise
        log.warning("redis is away: partitions beyond QUEUE_PARTITIONS are not looked for", error=str(error))
        return number, time.time()


async def _noted(first: ArqRedis, number: int) -> tuple[int, float]:
    kept = await _kept(first)
    known = {name.decode(errors="replace"): score for name, score in kept}
    largest = max(_number_in(known.get(LARGEST)), number)
    if _number_in(known.get(NUMBER, known.get(LARGEST))) == number:
        return largest, known.get(CHANGED, 0.0)
    changed_s, _ = await first.time()
    if not known and not await first.exists(keys.JOB_TYPES, keys.queue(keys.DEFAULT_QUEUE)):
        changed_s = 0  # nobody has worked here: it is a new installation
    await first.zadd(keys.PARTITIONS, {LARGEST: largest, NUMBER: number, CHANGED: changed_s})
    return largest, changed_s


async def _kept(first: ArqRedis) -> Sequence[tuple[bytes, float]]:
    """What is noted; what another program has written there is removed: it would keep every process from its start."""
    try:
        return await first.zrange(keys.PARTITIONS, 0, -1, withscores=True)  # type: ignore[no-any-return]  # redis-py leaves it untyped
    except ResponseError as error:
        if not may_be_repaired(error):
            raise
        await first.delete(keys.PARTITIONS)
        log.error("a key that another program has written was removed", key=keys.PARTITIONS)
        log.warning("partitions beyond QUEUE_PARTITIONS are not looked for")
        return []


async def most_ever(first: ArqRedis) -> int:
    """The most partitions that the installation with this partition 0 ever had. Raises redis' errors."""
    return _number_in(await first.zscore(keys.PARTITIONS, LARGEST))


def _number_in(score: float | None) -> int:
    """A number of partitions, no more than there may be: a client is made for each, whatever was written there."""
    return int(min(max(score or 1, 1), MAX_PARTITIONS))
