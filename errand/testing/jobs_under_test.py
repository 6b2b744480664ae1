"""What a test does with jobs: sees which were put, runs them, moves their time, has their attempts die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr

from errand.client.client import Client
from errand.job.catalog import Catalog, discover
from errand.job.context import Opener
from errand.job.functions.depends import overridden
from errand.job.job_type import JobType
from errand.job.producing.options import ms_of
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.redis.connection import connect
from errand.settings import Settings
from errand.testing.deaths import DeathAtAwait, DeathAtEffect, When
from errand.testing.waiting_jobs import SeenJob, WaitingJobs
from errand.wire import keys
from errand.worker.worker import Worker

Args = TypeVar("Args", bound=BaseModel)


REPLY_TIMEOUT_S = 30.0


LEASE_S = 3600.0
"""Nothing renews a lease here."""


MAX_ROUNDS = 1_000
"""A job that is retried for ever, or puts itself again, must not keep a test from its end."""


class JobsUnderTest:
    """The jobs of one test, as the fixture `jobs`: see which jobs your code put, run them, and move their time.

    >>> async def test_signup(client, jobs):
    ...     await client.post("/signup", json={"email": "ada@example.com"})
    ...     assert jobs.added == [("welcome_email", {"to": "ada@example.com"})]
    ...     (letter,) = await jobs.run_all()
    ...     assert letter.status == "succeeded"
    """

    __test__ = False

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        """The URL of the Redis for this test."""
        self._settings = settings
        self._in_redis = WaitingJobs(url)
        self._deaths: list[DeathAtEffect | DeathAtAwait] = []

    def close(self) -> None:
        """Ends the connection to Redis."""
        self._in_redis.close()

    def clear(self) -> None:
        """Forgets all jobs."""
        self._in_redis.clear()

    @property
    def added(self) -> list[SeenJob]:
        """Every job that was put, in order, also those that have ended: pairs of the type's name and the kept args."""
        return self._in_redis.added()

    def added_of(self, job_type: JobType[Args, Any]) -> list[Args]:
        """The args of every job of that type that was put, as instances of the type's model."""
        model: type[Args] = job_type.args_model
        return [
            model.model_validate(args, by_alias=True, by_name=True)
            for name, args in self.added
            if name == job_type.name
        ]

    async def run_all(self) -> list[JobSnapshot]:
        """Runs the jobs that are due, and those that they put, in this process. Returns the jobs that have run.

        A job that waits for its next attempt gets it at once, until the job has ended. A job that was put for later
        does not run before `move_time` has made it due. Raises LookupError for a job of an unknown type, RuntimeError
        after 1,000 rounds if there are still jobs to run.
        """
        ran: dict[str, str] = {}
        async with self._workers() as workers:
            for _ in range(MAX_ROUNDS):
                await workers.open_what_is_used(self._in_redis)
                started = [await self._run_due(queue, worker, ran) for queue, worker in workers.by_queue.items()]
                if not any(started):
                    found = [await workers.read(job_id, queue) for job_id, queue in ran.items()]
                    return [job for job in found if job is not None]
        raise RuntimeError(f"after {MAX_ROUNDS} rounds there are still jobs to run: {sorted(ran)[:10]}")

    def run_all_sync(self) -> list[JobSnapshot]:
        """Does what `run_all` does, in a test without `async`, such as one with FastAPI's TestClient."""
        return asyncio.run(self.run_all())

    def move_time(self, by: float | str | timedelta) -> None:
        """Moves time on for everything in Redis, at once: by seconds, a text like `"2h"`, or a timedelta.

        Jobs become due and expire; unique keys and idempotency keys become free. Your process's clock does not move.
        """
        self._in_redis.move_time(ms_of(by))

    @contextmanager
    def fail_at(self, effect: str, *, when: When = "started") -> Iterator[None]:
        """In the block, the next attempt that reaches this effect dies, as if somebody had killed its worker.

        It dies right after it has started `ctx.once(effect)`; with `when="finished"` right after it has finished it.

        >>> with jobs.fail_at("smtp-send"):
        ...     await jobs.run_all()  # that attempt is lost, and the next one finds the effect started

        Raises AssertionError at the end of the block if no attempt came there.
        """
        death = DeathAtEffect(effect, when)
        self._deaths.append(death)
        try:
            yield
        finally:
            self._deaths.remove(death)
        if death.left:
            raise AssertionError(f"no attempt came to where the effect '{effect}' was {when}")

    def override(self, dependency: Callable[..., Any], instead: Callable[..., Any]) -> AbstractContextManager[None]:
        """`with jobs.override(session, fake_session):` has every job call another function in place of a dependency."""
        return overridden(dependency, instead)

    async def dying_at_each_await(self) -> AsyncIterator[int]:
        """`async for number in jobs.dying_at_each_await():` repeats a test. Each time the job dies at another wait.

        In round 1 the first attempt dies at its first wait, in round 2 at its second, and so on, until an attempt comes
        to its end before it dies. Each round starts with an empty Redis. In the body you put a job, call `run_all()`,
        and check that the effects are right.
        """
        for number in range(1, MAX_ROUNDS):
            self.clear()
            death = DeathAtAwait(number)
            self._deaths.append(death)
            try:
                yield number
            finally:
                self._deaths.remove(death)
            if not death.happened:
                return

    async def _run_due(self, queue: str, worker: Worker, ran: dict[str, str]) -> bool:
        # attempts that died, and those whose policy has them wait
        self._in_redis.make_due(queue, self._in_redis.tried(queue))
        started = await worker.run_due()
        ran |= dict.fromkeys(started, queue)
        died = [job_id for job_id in started if job_id in self._in_redis.waiting(queue)]
        self._in_redis.make_due(queue, [job_id for job_id in died if self._in_redis.holds_lease(job_id)])
        return bool(started)

    @asynccontextmanager
    async def _workers(self) -> AsyncIterator[Workers]:
        catalog = discover(self._settings.packages)
        job_types = [self._dying(job_type) for job_type in catalog.values()]
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(Client(self._settings, redis_url=self.url))
            yield Workers(stack, self._settings, self.url, job_types, catalog)

    def _dying(self, job_type: JobType[Any, Any]) -> JobType[Any, Any]:
        for death in self._deaths:
            job_type = death.applied(job_type)
        return job_type


class Workers:
    """A worker for each queue, and the resources of their jobs, opened when the first job that uses them waits."""

    def __init__(
        self,
        stack: AsyncExitStack,
        settings: Settings,
        url: str,
        job_types: Sequence[JobType[Any, Any]],
        catalog: Catalog,
    ) -> None:
        """The stack closes all of it."""
        self._redis = connect(url, reply_timeout_s=REPLY_TIMEOUT_S)
        stack.push_async_callback(self._redis.aclose)
        self._stack = stack
        # what jobs use finds the Redis of the test in its settings
        self._settings = settings.model_copy(update={"redis_url": SecretStr(url)})
        self._job_types = {job_type.name: job_type for job_type in job_types}
        self._hooks = catalog.hooks
        self._resources: dict[Opener[Any], Any] = {}
        self.by_queue = {queue: self._worker(queue) for queue in catalog.queues}

    def _worker(self, queue: str) -> Worker:
        return Worker(
            job_types=list(self._job_types.values()),
            resources=self._resources,
            hooks=self._hooks,
            queue_name=keys.queue(queue),
            redis_pool=self._redis,
            job_serializer=self._redis.job_serializer,
            job_deserializer=self._redis.job_deserializer,
            lease_s=LEASE_S,
            result_ttl_s=self._settings.result_ttl_s,
            dead_ttl_s=self._settings.dead_ttl_s,
            max_jobs=100,
            handle_signals=False,
        )

    async def open_what_is_used(self, in_redis: WaitingJobs) -> None:
        """Opens the resources of the jobs that wait. Raises LookupError for a job of an unknown type."""
        names = {in_redis.type_of(job_id) for queue in in_redis.queues() for job_id in in_redis.waiting(queue)}
        if unknown := names - self._job_types.keys():
            raise LookupError(f"a job of the unknown type {min(unknown)} was put: name its module in JOB_PACKAGES")
        for opener in (opener for name in names for opener in self._job_types[name].uses):
            if opener not in self._resources:
                self._resources[opener] = await self._stack.enter_async_context(opener(self._settings))

    async def read(self, job_id: str, queue: str) -> JobSnapshot | None:
        """That job as it is now."""
        return await read_job(self._redis, job_id, queues=[keys.queue(queue)])
