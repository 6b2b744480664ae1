"""What routes share: opened once in the app's lifespan, handed to each request."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from arq.connections import ArqRedis
from fastapi import Depends, Request

from errand.audit import AuditTrail
from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.events.feed import JobFeed
from errand.events.listener import JobEvents
from errand.http.answers.job_view import JobView, job_view, without_content
from errand.http.gates import auth
from errand.http.gates.token_bucket import RateLimit
from errand.http.scope import root_path
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.monitor.job_snapshot import JobSnapshot, find_job
from errand.monitor.timeline import Timeline
from errand.monitor.waiting import Waiting, why_waiting
from errand.queue.partitioned import JobQueue
from errand.redis.cluster.partitions import Partitions
from errand.redis.outage import REDIS_DEADLINE_S, within
from errand.resources.job_files import JobFiles
from errand.resources.storage import Storage
from errand.resources.storage_check import StorageCheck
from errand.schedules.store import Schedules
from errand.settings import Settings
from errand.uploads.doubtful import DoubtfulUploads
from errand.uploads.sessions import UploadSessions
from errand.webhooks.endpoints import EndpointAttempts, EndpointLines, Endpoints
from errand.webhooks.sent_events import SentEvents

if TYPE_CHECKING:
    from errand.mail.deliveries import Deliveries, DeliveryState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The service's connections."""

    settings: Settings
    catalog: Catalog
    redis: ArqRedis
    """Partition 0."""
    partitions: Partitions
    queues: Mapping[str, JobQueue]
    """The queues of the catalog, by name, the default one first."""
    dead: DeadJobs
    replays: Replays
    schedules: Schedules
    webhook_endpoints: Endpoints
    webhook_attempts: EndpointAttempts
    webhook_lines: EndpointLines
    audit: AuditTrail
    sent_events: SentEvents
    timeline: Timeline
    events: JobEvents
    feed: JobFeed
    storage: Storage
    uploads: UploadSessions
    doubtful_uploads: DoubtfulUploads
    storage_check: StorageCheck | None = None
    """None if no job type takes a file."""
    rate_limit: RateLimit | None = None
    letter_types: frozenset[str] = frozenset()
    """The names of the job types that send letters."""
    deliveries: Deliveries | None = None
    """How far their letters have come; None if there are no such types."""
    root_path: str = ""
    """The path under which the request found the API: every link in the answer begins with it."""
    may_read: bool = True
    """False if the request's key may put jobs and not look at them."""

    def queue_of(self, job_type: JobType[Any, Any], *, name: str | None = None) -> JobQueue:
        """Where jobs of that type go, in the queue of that name, or in that of the type."""
        queue = self.queues[name or job_type.queue]
        return queue.undivided if job_type.limits else queue

    async def find(self, job_id: str) -> JobSnapshot | None:
        """The job as it is now; None if it is unknown."""
        return await in_time(find_job(self.partitions, job_id, queues=self.queue_keys))

    @property
    def clients(self) -> Sequence[ArqRedis]:
        """One for each partition of the queues."""
        return self.partitions.clients

    @property
    def job_files(self) -> JobFiles:
        """The files that jobs came with, or have made."""
        return JobFiles(self.partitions, self.storage)

    @property
    def queue_keys(self) -> list[str]:
        """Where a job may be, as the engine knows it."""
        return [queue.key for queue in self.queues.values()]


def shared_of(request: Request) -> Shared:
    """What the lifespan opened, with the root path of this request."""
    opened: Shared = request.app.state.shared
    root, may_read = root_path(request.scope), auth.may(request, "read")
    return opened if may_read and not root else replace(opened, root_path=root, may_read=may_read)


async def shared(request: Request) -> Shared:
    """The dependency behind `SharedDep`. Async: FastAPI sends other dependencies through a thread."""
    return shared_of(request)


SharedDep = Annotated[Shared, Depends(shared)]


async def full_view_of(to: Shared, job: JobSnapshot) -> JobView:
    """The job as this request may see it, with why it waits, and how far its letter has come if it has sent one."""
    return view_of(to, job, await waiting_of(to, job), await _delivery_of(to, job))


def view_of(
    to: Shared, job: JobSnapshot, waiting: Waiting | None = None, delivery: DeliveryState | None = None
) -> JobView:
    """The job as this request may see it."""
    if waiting is not None and waiting.progress is not None:
        job = replace(job, progress=waiting.progress)
    view = job_view(job, to.catalog, waiting, delivery, root_path=to.root_path)
    return view if to.may_read else without_content(view)


async def waiting_of(to: Shared, job: JobSnapshot) -> Waiting | None:
    """Why that job waits; None if it runs or has ended."""
    if job.ended:
        return None
    redis = await in_time(to.partitions.having(job.id))
    return await in_time(why_waiting(redis, job, silent_s=to.settings.lease_s))


async def _delivery_of(to: Shared, job: JobSnapshot) -> DeliveryState | None:
    """None for a type that sends no letters: most jobs are looked at without a further call."""
    if to.deliveries is None or job.type not in to.letter_types:
        return None
    return await in_time(to.deliveries.find(job.id))


async def in_time(call: Coroutine[Any, Any, T]) -> T:
    """The answer of a call to Redis; its TimeoutError if that takes longer than a request may spend on it in all.

    The client's own time limits are for one reply, and its connections are made one after the other: behind a silent
    server the tenth request would wait for the time-outs of nine others.
    """
    return await within(REDIS_DEADLINE_S, call)
