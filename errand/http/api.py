"""Puts the HTTP API together: one lifespan opens what requests share, each resource has its router."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from arq.connections import ArqRedis
from fastapi import APIRouter, Depends, FastAPI, params
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from errand.audit import AuditTrail
from errand.client.connection import durabilities_of, redis_of
from errand.dashboard import router as dashboard
from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.doctor.examine import installation_of, looking
from errand.events.feed import JobFeed
from errand.events.listener import JobEvents
from errand.extras import ExtraMissing
from errand.http.answers import problems
from errand.http.document import openapi, problem_pages
from errand.http.document import pages as docs_pages
from errand.http.gates import known_query
from errand.http.gates.answer_headers import AnswerHeaders
from errand.http.gates.audit import Audit, Record
from errand.http.gates.bad_keys import BadKeys
from errand.http.gates.body_limit import MULTIPART_OVERHEAD_BYTES, BodyLimit
from errand.http.gates.cookie_limit import CookieLimit
from errand.http.gates.head_requests import HeadRequests
from errand.http.gates.throttle import RefusalThrottle
from errand.http.gates.token_bucket import RateLimit
from errand.http.gates.untraced import is_untraced
from errand.http.routes import (
    audit,
    batches,
    dead_jobs,
    events,
    health,
    job_types,
    jobs,
    queues,
    schedules,
    webhooks,
)
from errand.http.routes import enqueue as enqueueing
from errand.http.routes import job_list as job_lists
from errand.http.routes.stored import files, images, uploads
from errand.http.shared import Shared
from errand.job.catalog import Catalog, discover
from errand.monitor.timeline import Timeline
from errand.queue.partitioned import queue_in
from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.connection import connect
from errand.redis.durability import all_watched
from errand.redis.outage import REDIS_DEADLINE_S, REPLY_TIMEOUT_S
from errand.resources.job_files import JobFiles
from errand.resources.storage import Storage
from errand.resources.storage_check import StorageCheck
from errand.schedules.store import Schedules
from errand.settings import ApiKey, Settings
from errand.tracing import switch
from errand.uploads.doubtful import DoubtfulUploads
from errand.uploads.sessions import UploadSessions
from errand.version import VERSION
from errand.webhooks.endpoints import EndpointAttempts, EndpointLines, Endpoints
from errand.webhooks.event_types import declared_in
from errand.webhooks.sent_events import SentEvents

DESCRIPTION = """FastAPI's `BackgroundTasks` made durable: a request puts a job into Redis, a worker runs it.

Errors are `application/problem+json` (RFC 9457). Times are RFC 3339 in UTC, durations seconds or `10m`-like.
"""


class ApiState(State):
    """The state of the app, with real attributes: a request reads nine, of which starlette's cost a call each."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        super().__init__(vars(self))


class Api(FastAPI):
    """The HTTP API: an ASGI app, to be served as it is or mounted in another app.

    All of its answers pass the same gates; `add_middleware` would leave out the answers to faults of the service.
    """

    catalog: Catalog

    def use_keys(self, api_keys: Sequence[ApiKey]) -> None:
        """Admits requests by these keys from now on.

        Raises ValueError if there are none now, or were none: a service that keys guard is not opened by a mistake, and
        one that serves its own machine alone has more that depends on that.
        """
        if not (self.state.api_keys and api_keys):
            raise ValueError("API_KEYS: between none and some the service must be started anew")
        self.state.api_keys = tuple(api_keys)

    @asynccontextmanager
    async def opened(self, *, redis_url: str) -> AsyncIterator[None]:
        """Opens what requests share, for the block. `jobs_lifespan(settings, api=api)` does it for a mounted API."""
        async with opened(self.state.settings, self.catalog, redis_url=redis_url) as shared:
            self.state.shared = shared
            try:
                yield
            finally:
                self.state.shared = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.state.shared is None:
            raise RuntimeError(
                "this API is not open: Starlette runs no lifespan of a mounted app. "
                "Give it to that of your own: FastAPI(lifespan=jobs_lifespan(settings, api=api))"
            )
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
        return Audit(AnswerHeaders(app, head=HeadRequests(app)), record=self.state.record)


def create_api(settings: Settings, *, redis_url: str | None = None, dependencies: Sequence[params.Depends] = ()) -> Api:
    """The HTTP API for these settings: an ASGI app to serve, or to mount in your own FastAPI app.

        api = create_api(settings, dependencies=[Depends(require_admin)])
        app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
        app.mount("/admin/queue", api)

    Starlette runs no lifespan of a mounted app, so `jobs_lifespan(settings, api=api)` opens what the API needs. All
    links in the API's answers begin with the path of the mount.

    `dependencies` run before every route, also before `/docs`, `/openapi.json` and the health probes. If you give any,
    they alone decide who may do what: Errand checks no `API_KEYS`, no longer refuses other machines, and counts
    `RATE_LIMIT` by the client's address. The middleware of your app runs before a mounted API, too.

    `redis_url` replaces `settings.redis_url`. If you set neither, the API uses the embedded Redis of `DATA_DIR`.

    Raises ImportError, TypeError or ValueError if it cannot use a package of job types.
    """
    catalog = discover(settings.packages)
    declared_in(settings.packages)  # a fault of a declaration stops the start, not a request

    @asynccontextmanager
    async def lifespan(app: Api) -> AsyncIterator[None]:
        async with redis_of(settings, redis_url) as url, app.opened(redis_url=url):
            yield

    app = Api(
        title="Errand",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # a redirect has no content: a client such as curl would show nothing at all
        redirect_slashes=False,
        dependencies=[*dependencies, Depends(known_query.refuse_unknown)],
        telemetry={"exclude": is_untraced, "logs": False, "operation_spans": False, "auto_configure": False},
    )
    app.catalog = catalog
    app.state = ApiState()
    app.state.settings = settings
    app.state.own_auth = bool(dependencies)
    app.state.shared = None
    app.state.known_query = {}
    app.state.images_waiting = Counter()
    app.state.api_keys = settings.api_keys
    app.state.throttle = RefusalThrottle(settings.refusal_limit)
    app.state.record = Record(lambda: app.state.shared.audit)
    app.add_middleware(BadKeys, clients_and_queues=lambda: (app.state.shared.clients, app.state.shared.queue_keys))
    app.add_middleware(BodyLimit, limit_of=_limit_of(settings, catalog))
    app.add_middleware(CookieLimit)
    problems.install(app)
    docs_pages.install(app)
    problem_pages.install(app)
    openapi.install(app, catalog)
    enqueueing.install(app, catalog, dependencies=dependencies)
    for router in _routers(settings, catalog, dependencies):
        app.include_router(router)
    return app


def _routers(settings: Settings, catalog: Catalog, dependencies: Sequence[params.Depends]) -> tuple[APIRouter, ...]:
    """One for each resource, in the order in which paths are looked up."""
    return (
        batches.router(catalog, dependencies=dependencies),
        job_lists.router,
        jobs.router,
        events.router,
        dead_jobs.router,
        schedules.router,
        schedules.defining(catalog),
        *webhooks.routers(catalog),
        job_types.router,
        files.router,
        files.signing,
        images.router,
        uploads.router,
        queues.router,
        audit.router,
        health.router,
        *_mail_routers(),
        *((dashboard.router(),) if settings.dashboard != "off" else ()),
    )


def _mail_routers() -> tuple[APIRouter, ...]:
    """None in an installation without `errand[mail]`."""
    try:
        from errand.http.routes import dev_mail, email, email_events
    except ExtraMissing:
        return ()
    return (email.router, email_events.router, dev_mail.router)


@asynccontextmanager
async def opened(settings: Settings, catalog: Catalog, *, redis_url: str) -> AsyncIterator[Shared]:
    """Opens what requests share. Redis may be away: requests are then answered 503."""
    async with partitions.opened(redis_url, number=settings.queue_partitions, reply_timeout_s=REPLY_TIMEOUT_S) as found:
        async with opened_in(found, settings, catalog, redis_url=redis_url) as shared:
            yield shared


@asynccontextmanager
async def opened_in(
    found: Partitions, settings: Settings, catalog: Catalog, *, redis_url: str
) -> AsyncIterator[Shared]:
    """The same, with the connections to the partitions open."""
    redis = found.first
    subscribers = Partitions(
        [connect(redis_url, reply_timeout_s=REPLY_TIMEOUT_S, partition=number) for number in range(len(found))]
    )
    switch.by_program()
    durabilities = durabilities_of(found.clients, settings)
    try:
        queues = {
            name: queue_in(
                found,
                durabilities,
                name=name,
                ended_ttl_s=settings.result_ttl_s,
                deadline_s=REDIS_DEADLINE_S,
                limit=settings.queue_limit,
            )
            for name in catalog.queues
        }
        queue_keys = [queue.key for queue in queues.values()]
        dead = DeadJobs(*found.clients, queues=queue_keys, ttl_s=settings.dead_ttl_s)
        job_events = JobEvents(*subscribers.clients, queues=queue_keys)
        storage = Storage.at(settings.files_url)
        doubtful_uploads = DoubtfulUploads(JobFiles(found, storage))
        feed = JobFeed(*found.clients, events=job_events, queues=queue_keys, max_watchers=settings.watcher_limit)
        async with (
            job_events.listening(),
            all_watched(durabilities),
            looking(found.clients, installation_of(settings, catalog)),
            aclosing(doubtful_uploads),
        ):
            yield Shared(
                settings=settings,
                catalog=catalog,
                redis=redis,
                partitions=found,
                queues=queues,
                dead=dead,
                replays=Replays(dead, deadline_s=REDIS_DEADLINE_S, partition_of=found.number_of),
                schedules=Schedules(redis),
                webhook_endpoints=Endpoints(redis),
                webhook_attempts=EndpointAttempts(redis, limit=settings.webhook_attempts_kept),
                webhook_lines=EndpointLines(found),
                audit=AuditTrail(redis, limit=settings.audit_limit),
                sent_events=SentEvents(redis),
                timeline=Timeline(*found.clients, queues=queue_keys),
                events=job_events,
                feed=feed,
                storage=storage,
                uploads=UploadSessions(redis, storage, ttl_s=settings.direct_upload_ttl_s),
                doubtful_uploads=doubtful_uploads,
                storage_check=_storage_check(storage, settings, catalog),
                rate_limit=_rate_limit(settings, redis),
                **_letters(settings, catalog, redis),
            )
    finally:
        await subscribers.aclose()


def _storage_check(storage: Storage, settings: Settings, catalog: Catalog) -> StorageCheck | None:
    """None if no job type takes a file."""
    if not any(job_type.file_field for job_type in catalog.values()):
        return None
    return StorageCheck(storage, settings.files_url, needs_bytes=settings.upload_limit_bytes)


def _letters(settings: Settings, catalog: Catalog, redis: ArqRedis) -> dict[str, Any]:
    """The fields of Shared that say how far letters have come; none without `errand[mail]`."""
    try:
        from errand.mail import mailer
        from errand.mail.deliveries import Deliveries
    except ExtraMissing:
        return {}
    letter_types = frozenset(name for name, job_type in catalog.items() if mailer in job_type.uses)
    return {"letter_types": letter_types, "deliveries": Deliveries(redis, ttl_s=settings.result_ttl_s)}


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
        if path.startswith("/v1/uploads/"):
            return settings.direct_upload_limit_bytes
        return settings.body_limit_bytes

    return limit_of
