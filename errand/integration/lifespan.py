"""Connects your own app to the queues: one lifespan, with the same settings as the worker's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.routing import Mount

from errand.client import connection
from errand.client.client import ByConnection
from errand.client.connection import redis_of
from errand.job.catalog import Catalog, discover
from errand.job.producing.producer import offered
from errand.queue.partitioned import JobQueue
from errand.redis.cluster.partitions import Partitions
from errand.resources.job_files import JobFiles
from errand.resources.storage import Storage
from errand.settings import Settings
from errand.uploads.doubtful import DoubtfulUploads

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
    partitions: Partitions
    queues: Mapping[str, JobQueue]
    """The queues of the catalog, by name."""
    storage: Storage
    doubtful_uploads: DoubtfulUploads
    api_path: str = ""
    """The path under which the app mounts Errand's API; empty if it does not."""


def jobs_lifespan(
    settings: Settings, *, api: MountableApi | None = None
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """Makes the lifespan of your app. It connects to the queues, for as long as the app runs, so that `Jobs` works.

        app = FastAPI(lifespan=jobs_lifespan(Settings.read()))

    If your app mounts Errand's HTTP API, pass the API here too, because Starlette runs no lifespan of a mounted app:

        api = create_api(settings, dependencies=[Depends(require_admin)])
        app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
        app.mount("/admin/queue", api)

    Without `REDIS_URL` the app joins the embedded Redis of `DATA_DIR`, or starts it. With `REDIS_URL` the app also
    starts while Redis is away: until Redis is back, routes that add jobs answer 503. If your app has a lifespan
    already, open this one inside it: `async with jobs_lifespan(settings)(app): yield`.
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
    async with AsyncExitStack() as stack:
        connected = await stack.enter_async_context(connection.opened(settings, redis_url=redis_url))
        put_by = ByConnection(connected)
        stack.push_async_callback(put_by.close)
        stack.enter_context(offered(put_by))
        queues = {name: connected.queue(name, limit=settings.queue_limit) for name in catalog.queues}
        storage = Storage.at(settings.files_url)
        doubtful_uploads = DoubtfulUploads(JobFiles(connected.partitions, storage))
        stack.push_async_callback(doubtful_uploads.aclose)
        yield QueueConnection(
            catalog=catalog,
            partitions=connected.partitions,
            queues=queues,
            storage=storage,
            doubtful_uploads=doubtful_uploads,
            api_path=api_path,
        )


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
