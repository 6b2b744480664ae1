"""`async with Client(settings) as client:` puts jobs and waits for them, in a script, an app or another job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Any, Self, TypeVar, Unpack, overload

from arq.connections import ArqRedis

from errand.client import connection
from errand.client.connection import Connected
from errand.client.published_types import PublishedTypes
from errand.client.watching import Watching
from errand.job.job_type import JobType
from errand.job.producing.handle import JobHandle
from errand.job.producing.options import GivenOptions, JobOptions
from errand.job.producing.producer import CancelAnswer, JobEnd, JobUpdate, PutJob, QueueUnavailable, offered
from errand.monitor.job_snapshot import JobSnapshot, find_job
from errand.queue.new_job import JobExists, UnknownDependency, step_of
from errand.queue.partitioned import JobQueue
from errand.queue.together import enqueue_together
from errand.queue.uniqueness import NotUnique, Unique
from errand.redis.outage import REDIS_DEADLINE_S, is_outage, within
from errand.settings import Settings
from errand.wire import keys
from errand.wire.flow import NO_FLOW, Flow, Needs, PlannedJob, any_undivided
from errand.wire.records import Error, JobStatus

Result = TypeVar("Result")


QUEUE_LOOK_S = 1.0
"""A wait for a job whose queue no worker has published looks so often whether one has."""


class Client:
    """Puts jobs and waits for them, in asyncio. While it is open, `enqueue` of every job type uses it.

    >>> async with Client(Settings.read()) as client:
    ...     job = await welcome_email.enqueue(to="ada@example.com", name="Ada")
    ...     report = await client.enqueue("report", {"day": "2030-01-31"})  # without the module of its type
    ...     print(await job.result(timeout_s=30), await report.status())

    Without `REDIS_URL` it joins the embedded Redis of `DATA_DIR`, or starts it. You can open it while Redis is away:
    until Redis is back, every call raises QueueUnavailable, within two seconds.
    """

    def __init__(self, settings: Settings, *, redis_url: str | None = None) -> None:
        """`redis_url` replaces the `redis_url` of the settings."""
        self._settings = settings
        self._redis_url = redis_url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(connection.opened(self._settings, redis_url=self._redis_url))
            self._put_by = ByConnection(opened)
            stack.push_async_callback(self._put_by.close)
            stack.enter_context(offered(self._put_by))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def enqueue(
        self, type_name: str, args: Mapping[str, Any] | None = None, /, **options: Unpack[GivenOptions]
    ) -> JobHandle[Any]:
        """Puts a job by the name of its type, with args as JSON values. Your program need not import the type's module.

        >>> await client.enqueue("report", {"day": "2030-01-31"}, delay="10m", unique_key="2030-01-31")

        It checks the args against the schema that workers publish. Raises LookupError for a type that no worker has
        published, ValueError for args that do not fit or an option out of range, NotUnique if another job holds the
        unique key and `on_conflict` says so, QueueUnavailable if Redis is away.
        """
        (job,) = await self._put(type_name, [args or {}], JobOptions.of(**options))
        return job

    async def enqueue_many(
        self, type_name: str, many_args: Sequence[Mapping[str, Any]], /, **options: Unpack[GivenOptions]
    ) -> list[JobHandle[Any]]:
        """Puts up to 10,000 jobs of one type in one call: all or none. Raises what `enqueue` raises.

        >>> await client.enqueue_many("report", [{"day": "2030-01-30"}, {"day": "2030-01-31"}])
        """
        asked = JobOptions.of(**options).for_many()
        return await self._put(type_name, many_args, asked) if many_args else []

    @overload
    def job(self, job_id: str, /) -> JobHandle[Any]: ...

    @overload
    def job(self, job_id: str, job_type: JobType[Any, Result], /) -> JobHandle[Result]: ...

    def job(self, job_id: str, job_type: JobType[Any, Any] | None = None, /) -> JobHandle[Any]:
        """A handle for a job that any program put before. It looks nothing up until you call one of its methods.

        >>> await client.job(job_id, welcome_email).result()  # as the type's function returns it

        If you leave out the type, the handle searches the queues of the types that workers have published. A job in
        another queue has no worker yet: `result` and `events` wait until a worker publishes a type of that queue, and
        `cancel` raises LookupError.
        """
        if job_type is None:
            return JobHandle(self._put_by, job_id)
        return JobHandle(self._put_by, job_id, queue=job_type.queue, read=job_type.read_result)

    async def _put(
        self, type_name: str, many_args: Sequence[Mapping[str, Any]], options: JobOptions
    ) -> list[JobHandle[Any]]:
        with outage_in_words():
            published = await within(REDIS_DEADLINE_S, self._put_by.types.named(type_name))
        for args in many_args:
            published.check(args)
        asked = options.of_type(priority=published.priority, undivided=published.undivided)
        put = await self._put_by.put(type_name, many_args, queue=published.queue, options=asked)
        return [JobHandle(self._put_by, job.id, queue=published.queue, existing=job.existing) for job in put]


class ByConnection:
    """The `Producer` that puts jobs into Redis by a connection."""

    def __init__(self, connection: Connected) -> None:
        self._connection = connection
        self.types = PublishedTypes(connection.redis)
        self._watching: dict[tuple[ArqRedis, str], Watching] = {}

    async def close(self) -> None:
        """Ends all waits. The connection stays open."""
        for watching in self._watching.values():
            await watching.close()

    async def put(
        self, type_name: str, many_args: Sequence[Mapping[str, Any]], *, queue: str, options: JobOptions
    ) -> Sequence[PutJob]:
        to = self._connection.queue(queue)
        if options.undivided:
            to = to.undivided
        flow = await self._flow_of(options)
        with outage_in_words():
            if len(many_args) == 1:
                return [await _put_one(to, type_name, many_args[0], options, flow)]
            put = await to.enqueue_many(
                type_name,
                many_args,
                delay_ms=options.when.delay_ms,
                run_at_ms=options.when.run_at_ms,
                limits=options.limits,
                flow=flow,
            )
        return [PutJob(job.job_id) for job in put]

    async def _flow_of(self, options: JobOptions) -> Flow:
        """What the jobs are to wait for. Raises UnknownDependency."""
        if not options.depends_on:
            return NO_FLOW
        jobs = []
        for job_id, queue in options.depends_on:
            try:
                jobs.append((job_id, queue or await self._queue_of(job_id)))
            except LookupError:
                raise UnknownDependency(job_id) from None
        return Flow(needs=Needs(jobs=tuple(jobs), run_after=options.run_after))

    async def put_steps(self, jobs: Sequence[tuple[PlannedJob, Flow]]) -> Sequence[PutJob]:
        undivided = any_undivided(jobs)
        queues = [self._connection.queue(job.queue) for job, _ in jobs]
        together = [
            (queue.undivided if undivided else queue, step_of(job, its_flow))
            for queue, (job, its_flow) in zip(queues, jobs, strict=True)
        ]
        with outage_in_words():
            answers = await enqueue_together(together)
        return [PutJob(job.id, existing=put is None) for (job, _), put in zip(jobs, answers, strict=True)]

    async def status(self, job_id: str, *, queue: str | None) -> JobStatus:
        return (await self._found(job_id, queue)).status

    async def end_of(self, job_id: str, *, queue: str | None, timeout_s: float | None) -> JobEnd:
        async with asyncio.timeout(timeout_s):
            with outage_in_words():
                queue = queue or await self._queue_once_known(job_id)
                job = await (await self._watch(job_id, queue)).end_of(job_id)
        if job is None:
            raise _unknown(job_id)
        if job.status == "succeeded":
            return JobEnd(status=job.status, result=job.result)
        return JobEnd(status=job.status, error=job.error or Error(type="Error", message="its result says no reason"))

    async def cancel(self, job_id: str, *, queue: str | None) -> CancelAnswer:
        with outage_in_words():
            queue = queue or await self._queue_of(job_id)
            answer = await within(REDIS_DEADLINE_S, self._connection.queue(queue).cancel(job_id))
        if answer in ("unknown", "changed"):
            raise _unknown(job_id)
        return answer  # type: ignore[return-value]  # one of the other three

    async def events(self, job_id: str, *, queue: str | None) -> AsyncIterator[JobUpdate]:
        with outage_in_words():
            queue = (await self._found(job_id, queue)).queue if queue else await self._queue_once_known(job_id)
            watching = await self._watch(job_id, queue)
            async with aclosing(watching.changes_of(job_id)) as changes:
                async for change in changes:
                    yield change

    async def _found(self, job_id: str, queue: str | None) -> JobSnapshot:
        """The job, in that queue or in any. Raises LookupError."""
        with outage_in_words():
            names = [queue] if queue else await within(REDIS_DEADLINE_S, self.types.queues())
            reading = find_job(self._connection.partitions, job_id, queues=[keys.queue(name) for name in names])
            job = await within(REDIS_DEADLINE_S, reading)
        if job is None:
            raise _unknown(job_id)
        return job

    async def _queue_of(self, job_id: str) -> str:
        """The queue of a job whose type was not given. Raises LookupError."""
        job = await self._found(job_id, None)
        if not _is_in(job):
            self.types.forget()
            job = await self._found(job_id, None)
        if not _is_in(job):
            raise LookupError(
                f"job {job_id} is in none of the queues of the types that workers have published: name its type, as in "
                "client.job(job_id, its_type)"
            )
        return job.queue

    async def _queue_once_known(self, job_id: str) -> str:
        """The same, when a worker has published the types of that queue; before that none serves it."""
        while not _is_in(job := await self._found(job_id, None)):
            await asyncio.sleep(QUEUE_LOOK_S)
            self.types.forget()
        return job.queue

    async def _watch(self, job_id: str, queue: str) -> Watching:
        """What watches that queue in the partition that has the job."""
        redis = await within(REDIS_DEADLINE_S, self._connection.partitions.having(job_id))
        if (redis, queue) not in self._watching:
            self._watching[redis, queue] = Watching(redis, queue)
        return self._watching[redis, queue]


async def _put_one(queue: JobQueue, type_name: str, args: Mapping[str, Any], options: JobOptions, flow: Flow) -> PutJob:
    """Raises NotUnique, if the options say so."""
    unique = None
    if options.unique_key is not None:
        replaces = options.on_conflict == "replace"
        unique = Unique(key=options.unique_key, for_s=options.unique_for_s, replace=replaces)
    elif options.repeats is not None:
        unique = Unique.of_repeats(options.repeats, args)
    try:
        put = await queue.enqueue(
            type_name,
            args,
            job_id=options.job_id,
            delay_ms=options.delay_ms,
            run_at_ms=options.when.run_at_ms,
            unique=unique,
            limits=options.limits,
            flow=flow,
        )
    except JobExists:
        assert options.job_id is not None
        return PutJob(options.job_id, existing=True)
    except NotUnique as conflict:
        if options.on_conflict != "return":
            raise
        return PutJob(conflict.job_id, existing=True)
    return PutJob(put.job_id)


@contextmanager
def outage_in_words() -> Iterator[None]:
    """Redis' own errors are replaced by QueueUnavailable where they say that it is away."""
    try:
        yield
    except Exception as error:
        if not is_outage(error):
            raise
        raise QueueUnavailable(f"the job queue cannot be reached: {error}") from error


def _is_in(job: JobSnapshot) -> bool:
    """True if the job was found in its queue, or has ended, which says which one it was."""
    return job.ended or job.held or job.run_at_ms is not None


def _unknown(job_id: str) -> LookupError:
    return LookupError(f"no job {job_id} is known: it has been forgotten, or was never put")
