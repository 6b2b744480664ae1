"""Connects your own app to the queues: one lifespan, with the same settings as the worker's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.routing import Mount

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


class MountableApi(Protocol):
    """What `create_api` returns, as far as a lifespan needs to know it."""

    def opened(self, *, redis_url: str) -> AbstractAsyncContextManager[None]:
        """Opens what the API's requests share, for the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConnection:
    """What an app opens once."""

    catalog: Catalog
    queues: Mapping[str, Queue]
    """The queues of the catalog, by name."""
    storage: Storage
    api_path: str = ""
    """The path under which the app mounts Errand's API; empty if it does not."""


def jobs_lifespan(
    settings: Settings, *, api: MountableApi | None = None
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """The lifespan of your own app: opens what `Jobs` needs, for as long as the app runs.

        app = FastAPI(lifespan=jobs_lifespan(Settings.read()))

    An app that mounts Errand's HTTP API gives it here too, since Starlette runs no lifespan of a mounted app:

        api = create_api(settings, dependencies=[Depends(require_admin)])
        app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
        app.mount("/admin/queue", api)

    Without `REDIS_URL` the app joins the embedded Redis of `DATA_DIR`, or starts it. Another Redis may be away when the
    app starts: until it is back, routes that add jobs answer 503. An app that has a lifespan already opens this one
    inside: `async with jobs_lifespan(settings)(app): yield`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        # here, not earlier: by now the modules that define the app and its job types are complete
        catalog = discover(settings.packages)
        async with (
            redis_of(settings) as url,
            opened(settings, catalog, redis_url=url, api_path=_path_of(app, api)) as connection,
            nullcontext() if api is None else api.opened(redis_url=url),
        ):
            setattr(app.state, STATE, connection)
            yield {STATE: connection}

    return lifespan


@asynccontextmanager
async def opened(
    settings: Settings, catalog: Catalog, *, redis_url: str | None = None, api_path: str = ""
) -> AsyncIterator[QueueConnection]:
    """The connection for these settings, to `redis_url` if it is given."""
    async with redis_of(settings, redis_url) as url:
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
            # no answer shows the durability of these jobs; the server is read only to know which replicas live
            async with durability.watched() if settings.replicas else nullcontext():
                storage = Storage.at(settings.files_url)
                yield QueueConnection(catalog=catalog, queues=queues, storage=storage, api_path=api_path)
        finally:
            await redis.aclose()


@asynccontextmanager
async def redis_of(settings: Settings, url: str | None = None) -> AsyncIterator[str]:
    """The URL of the Redis to use: `url`, else that of the settings, else the embedded Redis, joined for the block."""
    if url is None and settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
    with ExitStack() as membership:
        if url is None:
            # in a thread: it blocks until the embedded Redis answers
            embedded = embedded_redis.joined(settings.data_dir, fsync=settings.embedded_fsync)
            url = await asyncio.to_thread(membership.enter_context, embedded)
        yield url


def connection_of(*states: State) -> QueueConnection:
    """What the lifespan opened, in the first of these states that has it. Raises RuntimeError."""
    for state in states:
        found: QueueConnection | None = getattr(state, STATE, None)
        if found is not None:
            return found
    raise RuntimeError("Jobs is not connected: FastAPI(lifespan=jobs_lifespan(Settings.read()))")


def _path_of(app: FastAPI, api: MountableApi | None) -> str:
    """The path under which the app mounts the API."""
    mounted: list[tuple[object, str]] = [(route.app, route.path) for route in app.routes if isinstance(route, Mount)]
    return next((path for mounted_app, path in mounted if mounted_app is api), "")
