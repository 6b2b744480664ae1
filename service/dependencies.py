"""What routes share: opened once in the app's lifespan, handed to each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from arq.connections import ArqRedis
from fastapi import Depends, Request
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.engine.catalog import Catalog
from jobs.engine.job_events import JobEvents
from jobs.engine.job_type import JobType
from jobs.engine.queue import Queue
from jobs.resources.storage import Storage
from settings import Settings

REDIS_DEADLINE_S = 1.7
"""A client is promised an answer within 2 s where Redis is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The service's connections."""

    settings: Settings
    catalog: Catalog
    redis: ArqRedis
    queues: Mapping[str, Queue]
    """The queues of the catalog, by name, the default one first."""
    events: JobEvents
    storage: Storage

    def queue_of(self, job_type: JobType[Any, Any]) -> Queue:
        """Where jobs of that type go."""
        return self.queues[job_type.queue]

    @property
    def queue_keys(self) -> list[str]:
        """Where a job may be, as the engine knows it."""
        return [queue.key for queue in self.queues.values()]


async def shared(request: Request) -> Shared:
    """What the lifespan opened. Async, as every dependency here: FastAPI sends others through a thread."""
    opened: Shared = request.app.state.shared
    return opened


SharedDep = Annotated[Shared, Depends(shared)]


@asynccontextmanager
async def redis_deadline() -> AsyncIterator[None]:
    """Bounds what a request spends on Redis in all.

    The client's own time limits are for one reply, and its connections are made one after the other: behind a silent
    server the tenth request would wait for the time-outs of nine others.
    """
    try:
        async with asyncio.timeout(REDIS_DEADLINE_S):
            yield
    except TimeoutError:
        raise RedisTimeoutError(f"no answer within {REDIS_DEADLINE_S:g} s") from None
