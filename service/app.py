"""Puts the HTTP service together: what is shared opens in one lifespan, each resource has its router."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arq.connections import ArqRedis
from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from jobs.engine.catalog import Catalog, discover
from jobs.engine.dead_jobs import DeadJobs
from jobs.engine.doctor import looking
from jobs.engine.durability import Durability
from jobs.engine.job_events import JobEvents
from jobs.engine.job_feed import JobFeed
from jobs.engine.queue import Queue
from jobs.engine.rate_limit import RateLimit
from jobs.engine.redis_connection import connect
from jobs.engine.replay import Replays
from jobs.engine.schedules import Schedules
from jobs.engine.timeline import Timeline
from jobs.engine.version import VERSION
from jobs.resources.storage import Storage
from service import (
    batches,
    dead_jobs,
    docs_pages,
    enqueueing,
    events,
    files,
    health,
    job_lists,
    job_types,
    jobs,
    known_query,
    openapi,
    problems,
    queues,
    schedules,
)
from service.answer_headers import AnswerHeaders
from service.body_limit import MULTIPART_OVERHEAD_BYTES, BodyLimit
from service.dependencies import REDIS_DEADLINE_S, REPLY_TIMEOUT_S, Shared
from service.doctor import installation_of
from service.fast_path import FastPath
from service.head_requests import HeadRequests
from settings import Settings

DESCRIPTION = """FastAPI's `BackgroundTasks` made durable: a request puts a job into Redis, a worker runs it.

Errors are `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC, durations seconds or `10m`-like.
"""


class Service(FastAPI):
    """Has every answer pass the same gates; `add_middleware` would leave out those to faults of the service."""

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
        guarded = AnswerHeaders(app, head=HeadRequests(app))
        limit_bytes = self.state.settings.body_limit_bytes
        return FastPath(guarded, busy=enqueueing.busy_paths(self), service=self, limit_bytes=limit_bytes)


def create_app(settings: Settings, *, redis_url: str) -> FastAPI:
    """The service for these settings, on that Redis.

    Raises ImportError, TypeError or ValueError where a package of job types cannot be used.
    """
    catalog = discover(settings.job_packages)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with opened(settings, catalog, redis_url=redis_url) as shared:
            app.state.shared = shared
            yield

    app = Service(
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
