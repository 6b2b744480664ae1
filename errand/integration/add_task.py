"""`jobs.add_task(welcome_email, to=…)`: does for a route of your own app what `BackgroundTasks` does, durably.

The jobs of a request are put into Redis after its route has returned and before the response leaves: a client that gets
a 2xx can rely on them. FastAPI ends dependencies of the scope `function` at that time, and by its error if it raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

import structlog
from fastapi import Depends, FastAPI, HTTPException, UploadFile
from fastapi.requests import HTTPConnection
from pydantic import BaseModel

from errand.integration.lifespan import QueueConnection, connection_of
from errand.job.job_type import JobType
from errand.job.producing.checked_args import kept_args
from errand.job.producing.enqueuing import TakesArgs
from errand.job.producing.options import NO_OPTIONS, Duration, JobOptions
from errand.job.producing.steps import Chain, Group, check_first
from errand.job.stored_file import StoredFile
from errand.queue.new_job import NewJob, QueueFull, step_of
from errand.queue.partitioned import JobQueue
from errand.queue.sender import MAX_BATCH
from errand.queue.together import enqueue_together
from errand.queue.uniqueness import Unique
from errand.redis.outage import REDIS_RETRY_S, is_outage, may_be_done
from errand.resources import uploads as uploads_
from errand.resources.job_files import JobFiles
from errand.resources.storage import CHUNK_BYTES
from errand.wire import flow
from errand.wire.flow import Step
from errand.wire.job_id import new_job_id

log = structlog.get_logger("errand.add_task")


Args = TypeVar("Args", bound=BaseModel)


P = ParamSpec("P")


FULL_RETRY_S = 5


class RequestOptions(TypedDict, total=False):
    """What `with_options` takes."""

    delay: Duration | None
    run_at: datetime | None
    job_id: str | None
    expires_in: Duration | None
    max_tries: int | None
    priority: int | None
    debounce: Duration | None
    debounce_key: str | None
    throttle: Duration | None
    throttle_key: str | None


class JobsUnavailable(HTTPException):
    """Redis is away, and no job was put. Your app answers 503.

    It is an HTTPException, so your app needs no handler for it, and answers in its own form of errors if it has one.
    FastAPI's own answer has `detail` alone, which is valid as problem details (RFC 9457).
    """

    def __init__(self) -> None:
        super().__init__(
            503,
            f"The job queue cannot be reached. Try again in {REDIS_RETRY_S} seconds.",
            headers={"Retry-After": str(REDIS_RETRY_S), "Content-Type": "application/problem+json"},
        )


class QueueIsFull(HTTPException):
    """A queue holds as many unfinished jobs as `QUEUE_LIMIT` allows, and no job was put. Your app answers 503."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            503,
            f"The queue '{queue}' is full. Try again in {FULL_RETRY_S} seconds.",
            headers={"Retry-After": str(FULL_RETRY_S), "Content-Type": "application/problem+json"},
        )


@dataclass(frozen=True, slots=True)
class AddedJob:
    """A job that Errand puts when your route has returned. You have its id at once."""

    id: str
    api_path: str = ""
    """The path under which your app mounts Errand's API; empty if the API is a server of its own."""

    @property
    def path(self) -> str:
        """The job's path in Errand's HTTP API, for a `Location` header."""
        return f"{self.api_path}/v1/jobs/{self.id}"


@dataclass(slots=True)
class Added:
    """Jobs and files that were added and are not put yet."""

    jobs: list[tuple[JobQueue, NewJob]] = field(default_factory=list)
    files: list[StoredFile] = field(default_factory=list)
    closed: bool = False


class RequestJobs:
    """The jobs of one request: your route and its dependencies add them, as a parameter `jobs: Jobs`."""

    def __init__(
        self,
        connection: QueueConnection,
        added: Added,
        *,
        options: JobOptions = NO_OPTIONS,
        enforce: bool = True,
    ) -> None:
        self._connection = connection
        self._added = added
        self._options = options
        self._enforce = enforce

    @overload
    def add_task(self, job_type: Chain[Any] | Group[Any], /) -> AddedJob: ...

    @overload
    def add_task(self, job_type: JobType[Args, Any], args: Args, /) -> AddedJob: ...

    @overload
    def add_task(self, job_type: TakesArgs[P, Any, Any], /, *ready: P.args, **args: P.kwargs) -> AddedJob: ...

    def add_task(self, job_type: Any, /, *ready: Any, **args: Any) -> AddedJob:
        """Adds a job of that type. Give its args by name, or as an instance of its args model.

            jobs.add_task(welcome_email, to=user.email, name=user.name)

        Errand puts the job after your route has returned. If the route raises, it puts none. Jobs of one queue start in
        the order in which you added them. They do not wait for each other, and the failure of one does not affect the
        others. If they shall, add a chain or a group: `jobs.add_task(chain(…))` returns its last job.

        Raises InvalidArgs (a ValueError) if an arg does not fit, TypeError if `job_type` is no job type or does not
        know an arg, LookupError if no worker would find the type, ValueError if you added the same job id before,
        RuntimeError if the response is under way.
        """
        self._check_open()
        if isinstance(job_type, Chain | Group):
            check_first(job_type)
            return self._add_steps(job_type.planned() if isinstance(job_type, Chain) else (job_type.planned(),))
        if not isinstance(job_type, JobType):
            raise TypeError(_no_job_type(job_type))
        queue = self._queue_of(job_type.name, job_type.function.__module__)
        options = self._options.of_type(priority=job_type.priority, repeats=job_type.repeats)
        kept = kept_args(job_type, ready, args)
        job = NewJob(
            type_name=job_type.name,
            args=kept,
            job_id=self._next_id(),
            delay_ms=options.delay_ms,
            run_at_ms=options.when.run_at_ms,
            unique=None if options.repeats is None else Unique.of_repeats(options.repeats, kept),
            limits=options.limits,
            enforce=self._enforce,
            is_named=options.job_id is not None,
        )
        self._added.jobs.append((queue, job))
        return AddedJob(job.job_id, self._connection.api_path)

    def _add_steps(self, steps: Sequence[Step]) -> AddedJob:
        """The options of the request's jobs are not theirs: each step has its own."""
        first = flow.first_jobs(steps)
        undivided = flow.any_undivided(first)
        for job, its_flow in first:
            self._check_room(job.id)
            queue = self._queue_of(job.type, "its module")
            self._added.jobs.append((queue.undivided if undivided else queue, step_of(job, its_flow)))
        return AddedJob(flow.last_of(steps[-1]).id, self._connection.api_path)

    def with_options(self, *, enforce: bool = True, **given: Unpack[RequestOptions]) -> RequestJobs:
        """`jobs.with_options(delay="10m").add_task(…)` adds a job with these options.

        - `delay`: how long from now the job is due, as seconds, a text like `10m`, or a timedelta.
        - `run_at`: when the job is due, with a time zone. If that time has passed, the job is due at once.
        - `job_id`: the id of the job. While Redis has or remembers a job with this id, Errand puts no other.
        - `expires_in`: a job that has not started by then fails as `Expired`.
        - `max_tries`, `priority`: they replace those of the job type.
        - `debounce`, `throttle`: as in `@job`. If an equal job stands for this one, no job has the id that you got.
        - `enforce=False`: Errand puts the job although its queue holds as many jobs as `QUEUE_LIMIT` allows.

        Raises ValueError for a value out of range or two options that contradict each other, TypeError for an option
        that it does not know.
        """
        if unknown := given.keys() - RequestOptions.__annotations__.keys():
            raise TypeError(f"with_options does not know {', '.join(sorted(unknown))}")
        return RequestJobs(self._connection, self._added, options=JobOptions.of(**given), enforce=enforce)

    def now(self) -> AbstractAsyncContextManager[RequestJobs]:
        """`async with jobs.now() as now:` puts the jobs that you add to `now` at the end of the block.

        Use it if your route must know that its jobs are put before it goes on, and in code that runs on after the
        route has returned: a stream, a WebSocket.
        """
        return put_together(self._connection)

    async def store(self, upload: UploadFile) -> StoredFile:
        """Stores a file that a client sent, so that a job can read it. FastAPI closes its own after the response.

        Errand deletes the file if your route raises or Errand cannot put its jobs.
        """
        self._check_open()

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await upload.read(CHUNK_BYTES):
                yield chunk

        file = await uploads_.keep(self._connection.storage, chunks(), filename=upload.filename)
        self._added.files.append(file)
        return file

    def _check_open(self) -> None:
        if self._added.closed:
            raise RuntimeError(
                "the response is under way, and what is added now would never be put: "
                "use `async with jobs.now() as now:` and `now.add_task(…)`"
            )

    def _queue_of(self, type_name: str, module: str) -> JobQueue:
        known = self._connection.catalog.get(type_name)
        if known is None:
            raise LookupError(
                f"no worker would find the job type {type_name}: name {module} in JOB_PACKAGES, "
                "or the package that it is in, for this app and for its workers"
            )
        queue = self._connection.queues[known.queue]
        return queue.undivided if known.limits else queue

    def _next_id(self) -> str:
        asked = self._options.job_id
        self._check_room(asked)
        return asked or new_job_id()

    def _check_room(self, job_id: str | None) -> None:
        if len(self._added.jobs) >= MAX_BATCH:
            raise ValueError(f"one request puts up to {MAX_BATCH} jobs; use `async with jobs.now()` for more")
        if job_id is not None and any(job.job_id == job_id for _, job in self._added.jobs):
            raise ValueError(f"a job with the id {job_id} was added before")


@asynccontextmanager
async def put_together(connection: QueueConnection) -> AsyncIterator[RequestJobs]:
    """Puts the jobs that the block adds in one call, at the end of the block. If the block raises, it puts none.

    Raises JobsUnavailable, within two seconds, if Redis is away, and QueueIsFull.
    """
    added = Added()
    try:
        yield RequestJobs(connection, added)
        await _put(added.jobs)
    except BaseException as error:
        await _give_up(connection, added, error)
        raise
    finally:
        added.closed = True
    if added.files:
        for _, job in added.jobs:
            await JobFiles(connection.partitions, connection.storage).note(job.job_id, job.args)


async def _give_up(connection: QueueConnection, added: Added, error: BaseException) -> None:
    """Deletes the files: at once, or, if jobs may be there all the same, when it is known that there are none."""
    if added.files and may_be_done(error.__cause__ or error):
        connection.doubtful_uploads.add(added.files, {job.job_id: job.args for _, job in added.jobs})
    else:
        await uploads_.forget(connection.storage, added.files)


async def _put(jobs: list[tuple[JobQueue, NewJob]]) -> None:
    try:
        answers = await enqueue_together(jobs)
    except QueueFull as error:
        raise QueueIsFull(error.queue) from None
    except Exception as error:
        if not is_outage(error):
            raise
        log.warning("redis is away, jobs were not put", jobs=len(jobs), error=str(error))
        raise JobsUnavailable from error
    for (_, job), answer in zip(jobs, answers, strict=True):
        if answer is None:
            log.info("an equal job stands for this one, which was not put", job_id=job.job_id, type=job.type_name)


async def request_jobs(request: HTTPConnection) -> AsyncIterator[RequestJobs]:
    """The dependency behind `Jobs`."""
    # a server hands what the lifespan yielded to apps that are mounted in this one, too
    connection = connection_of(request.state, request.app.state)
    # the path of a proxy, without that of an app that is mounted in this one
    root = request.scope.get("app_root_path", request.scope.get("root_path", "")).rstrip("/")
    if root and connection.api_path:
        connection = replace(connection, api_path=f"{root}{connection.api_path}")
    async with put_together(connection) as jobs:
        yield jobs


Jobs = Annotated[RequestJobs, Depends(request_jobs, scope="function")]
"""A parameter `jobs: Jobs` of your route or of its dependencies. All of one request share one instance."""


def jobs_of(app: FastAPI) -> AbstractAsyncContextManager[RequestJobs]:
    """`async with jobs_of(app) as jobs:` adds jobs outside of a request. Errand puts them at the end of the block.

    Raises RuntimeError if the app's `jobs_lifespan` is not open, JobsUnavailable if Redis is away.
    """
    return put_together(connection_of(app.state))


def _no_job_type(given: object) -> str:
    name = getattr(given, "__name__", repr(given))
    return f"{name} is no job type: mark it with @job, or give it to FastAPI's BackgroundTasks if it may be lost"
