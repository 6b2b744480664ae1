"""Connects an app of your own to the queues: one lifespan, from the same settings as the worker's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import State

from errand.job.catalog import Catalog, discover
from errand.queue.queue import Queue
from errand.redis import embedded as embedded_redis
from errand.redis.connection import connect
from errand.redis.durability import Durability
from errand.redis.outage import REDIS_DEADLINE_S, REPLY_TIMEOUT_S
from errand.resources.storage import Storage
from errand.settings import Settings

STATE = "errand"
"""The name of the connection in an app's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConnection:
    """What an app opens once."""

    catalog: Catalog
    queues: Mapping[str, Queue]
    """The queues of the catalog, by name."""
    storage: Storage


def jobs_lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """`FastAPI(lifespan=jobs_lifespan(Settings.read()))`: what `Jobs` needs, open for as long as the app runs.

    With no `REDIS_URL` the embedded Redis of `DATA_DIR` is joined, or started. Needs no answer of another Redis to
    open: while it is away routes that add jobs answer 503. An app with a lifespan of its own opens this one inside:
    `async with jobs_lifespan(settings)(app): yield`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # here, not earlier: by now the modules that define the app and its job types are complete
        async with opened(settings, discover(settings.packages)) as connection:
            setattr(app.state, STATE, connection)
            yield {STATE: connection}

    return lifespan


@asynccontextmanager
async def opened(settings: Settings, catalog: Catalog) -> AsyncIterator[QueueConnection]:
    """The connection for these settings."""
    with ExitStack() as membership:
        url = await asyncio.to_thread(_redis_url, settings, membership)
        redis = connect(url, reply_timeout_s=REPLY_TIMEOUT_S)
        durability = Durability(redis, replicas=settings.replicas, timeout_ms=settings.replication_timeout_ms)
        queues = {
            name: Queue(
                redis,
                name=name,
                ended_ttl_s=settings.result_ttl_s,
                deadline_s=REDIS_DEADLINE_S,
                durability=durability,
            )
            for name in catalog.queues
        }
        try:
            # no answer says what stands behind these jobs; the server is read only to know which replicas live
            async with durability.watched() if settings.replicas else nullcontext():
                yield QueueConnection(catalog=catalog, queues=queues, storage=Storage.at(settings.files_url))
        finally:
            await redis.aclose()


def _redis_url(settings: Settings, membership: ExitStack) -> str:
    """Blocks until the embedded Redis answers, where it is that one."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return membership.enter_context(embedded_redis.joined(settings.data_dir))


def connection_of(*states: State) -> QueueConnection:
    """What the lifespan opened, in the first of these states that has it. Raises RuntimeError."""
    for state in states:
        found: QueueConnection | None = getattr(state, STATE, None)
        if found is not None:
            return found
    raise RuntimeError("Jobs is not connected: FastAPI(lifespan=jobs_lifespan(Settings.read()))")
