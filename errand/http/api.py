"""Puts the HTTP service together: what is shared opens in one lifespan, each resource has its router."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.doctor.examine import installation_of, looking
from errand.events.feed import JobFeed
from errand.events.listener import JobEvents
from errand.http.answers import problems
from errand.http.document import openapi
from errand.http.document import pages as docs_pages
from errand.http.gates import known_query
from errand.http.gates.answer_headers import AnswerHeaders
from errand.http.gates.body_limit import MULTIPART_OVERHEAD_BYTES, BodyLimit
from errand.http.gates.head_requests import HeadRequests
from errand.http.gates.token_bucket import RateLimit
from errand.http.routes import batches, dead_jobs, events, files, health, job_types, jobs, queues, schedules
from errand.http.routes import enqueue as enqueueing
from errand.http.routes import job_list as job_lists
from errand.http.shared import Shared
from errand.job.catalog import Catalog, discover
from errand.monitor.timeline import Timeline
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.redis.durability import Durability
from errand.redis.outage import REDIS_DEADLINE_S, REPLY_TIMEOUT_S
from errand.resources.storage import Storage
from errand.schedules.store import Schedules
from errand.settings import Settings
from errand.version import VERSION

DESCRIPTION = """FastAPI's `BackgroundTasks` made durable: a request puts a job into Redis, a worker runs it.

Errors are `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC, durations seconds or `10m`-like.
"""


class Api(FastAPI):
    """Has every answer pass the same gates; `add_middleware` would leave out those to faults of the service."""

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
        return AnswerHeaders(app, head=HeadRequests(app))


def create_api(settings: Settings, *, redis_url: str) -> Api:
    """The service for these settings, on that Redis.

    Raises ImportError, TypeError or ValueError where a package of job types cannot be used.
    """
    catalog = discover(settings.packages)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(settings, catalog, redis_url=redis_url) as shared:
            app.state.shared = shared
            yield

    app = Api(
        title="Errand",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # a redirect has no content: who asks with curl would see nothing at all
        redirect_slashes=False,
        dependencies=[Depends(known_query.refuse_unknown)],
    )
    app.state.settings = settings
    app.state.known_query = {}
    app.add_middleware(BodyLimit, limit_of=_limit_of(settings, catalog))
    problems.install(app)
    docs_pages.install(app)
    enqueueing.install(app, catalog)
    for router in (
        batches.router(catalog),
        job_lists.router,
        jobs.router,
        events.router,
        dead_jobs.router,
        schedules.router,
        schedules.defining(catalog),
        job_types.router,
        files.router,
        queues.router,
        health.router,
    ):
        app.include_router(router)
    openapi.install(app, catalog)
    return app


@asynccontextmanager
async def opened(settings: Settings, catalog: Catalog, *, redis_url: str) -> AsyncIterator[Shared]:
    """What requests share. Needs no Redis to open: while it is away requests are answered 503."""
    redis = connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S)
    subscriber = connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S)
    durability = Durability(redis, replicas=settings.replicas, timeout_ms=settings.replication_timeout_ms)
    try:
        queues = {
            name: Queue(
                redis,
                name=name,
                ended_ttl_s=settings.result_ttl_s,
                deadline_s=REDIS_DEADLINE_S,
                durability=durability,
                limit=settings.queue_limit,
            )
            for name in catalog.queues
        }
        queue_keys = [queue.key for queue in queues.values()]
        dead = DeadJobs(redis, queues=queue_keys, ttl_s=settings.dead_ttl_s)
        job_events = JobEvents(subscriber, queues=queue_keys)
        feed = JobFeed(redis, job_events, queues=queue_keys, most_watchers=settings.watcher_limit)
        async with (
            job_events.listening(),
            durability.watched(),
            looking(redis, installation_of(settings, catalog)),
        ):
            yield Shared(
                settings=settings,
                catalog=catalog,
                redis=redis,
                queues=queues,
                dead=dead,
                replays=Replays(redis, dead, deadline_s=REDIS_DEADLINE_S),
                schedules=Schedules(redis),
                timeline=Timeline(redis, queues=queue_keys),
                events=job_events,
                feed=feed,
                storage=Storage.at(settings.files_url),
                rate_limit=_rate_limit(settings, redis),
            )
    finally:
        await subscriber.aclose()
        await redis.aclose()


def _rate_limit(settings: Settings, redis: ArqRedis) -> RateLimit | None:
    rate = settings.rate_limit
    if rate is None:
        return None
    return RateLimit(redis, quota=rate.quota, window_s=rate.window_s, deadline_s=REDIS_DEADLINE_S)


def _limit_of(settings: Settings, catalog: Catalog) -> Any:
    """Uploads go to disk and may be large; JSON is read into memory and may not."""
    upload_paths = {f"/v1/jobs/{name}" for name, job_type in catalog.items() if job_type.file_field}
    batch_paths = {f"/v1/jobs/{name}/batch" for name in catalog}

    def limit_of(path: str, content_type: str) -> int:
        if path in batch_paths:
            return settings.batch_limit_bytes
        if path in upload_paths and content_type.lower().startswith("multipart/form-data"):
            return settings.upload_limit_bytes + MULTIPART_OVERHEAD_BYTES
        return settings.body_limit_bytes

    return limit_of
