"""`SyncClient` puts jobs from programs without an event loop, such as Django, Flask and scripts.

A `Client` in a thread of its own makes the calls, so that there is one way to Redis and not two.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, overload

from errand.client.client import Client
from errand.job.job_type import JobType
from errand.job.producing.enqueuing import TakesArgs
from errand.job.producing.handle import JobHandle
from errand.job.producing.options import GivenOptions
from errand.job.producing.producer import CancelAnswer, JobUpdate, QueueUnavailable
from errand.job.producing.steps import Chain, ChainHandle, Group
from errand.settings import Settings
from errand.wire.records import JobStatus

T = TypeVar("T")


P = ParamSpec("P")


Result = TypeVar("Result")


CLOSED = "the client is closed: it is not known what became of a call that had started"


class Loop:
    """An event loop in a daemon thread, which makes the calls of other threads."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="errand client", daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The answer of the call. An interrupt (Ctrl-C) of the caller cancels it.

        Raises QueueUnavailable if the loop is closed, also if that happens meanwhile, and RuntimeError in a process
        that was forked since: it has no thread that would make the call.
        """
        answer = self._started(call)
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise QueueUnavailable(CLOSED) from None
        except BaseException:
            answer.cancel()
            raise

    def _started(self, call: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            if self._pid != os.getpid():
                raise RuntimeError("this job is of the process that forked this one: ask for it by client.job(id)")
            with self._lock:
                if self._is_closed:
                    raise QueueUnavailable(CLOSED)
                return asyncio.run_coroutine_threadsafe(call, self._loop)
        except BaseException:
            call.close()
            raise

    def close(self, last: Coroutine[Any, Any, object] | None = None) -> None:
        """Makes the last call, and ends all others that are under way: nobody waits for an answer that cannot come."""
        with self._lock:
            self._is_closed = True
        try:
            asyncio.run_coroutine_threadsafe(_last_of_all(last), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _last_of_all(last: Coroutine[Any, Any, object] | None) -> None:
    try:
        if last is not None:
            await last
    finally:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class SyncJob(Generic[Result]):
    """A job that was put. Its methods do and raise what those of `JobHandle` do, and block instead of `await`."""

    loop: Loop
    handle: JobHandle[Result] | ChainHandle[Result]

    @property
    def id(self) -> str:
        return self.handle.id

    @property
    def existing(self) -> bool:
        """True if no job was put, because this one was there before: it has the same id, or the same unique key."""
        return self.handle.existing

    def result(self, *, timeout_s: float | None = None) -> Result:
        """Waits for the end of the job, `timeout_s` seconds at most, and returns what its function returned."""
        return self.loop.run(self.handle.result(timeout_s=timeout_s))

    def status(self) -> JobStatus:
        return self.loop.run(self.handle.status())

    def cancel(self) -> CancelAnswer:
        return self.loop.run(self.handle.cancel())

    def events(self) -> Iterator[JobUpdate]:
        """`for event in job.events():` yields the job's status now, then each change until its end."""
        events = self.handle.events()
        while (event := self.loop.run(_next(events))) is not None:
            yield event


class SyncClient:
    """Puts jobs without an event loop: in Django, in Flask, in scripts.

    >>> with SyncClient(Settings.read()) as client:
    ...     job = client.enqueue(welcome_email, to="ada@example.com", name="Ada")
    ...     client.options(delay="10m").enqueue("report", {"day": "2030-01-31"})  # without the module of its type
    ...     print(job.result(timeout_s=30))

    A program that runs for long makes one client and keeps it. The client connects at its first call, and `close()`
    ends the connection. Threads may share one client. A forked process opens its own connection at its first call. The
    methods raise what those of `Client` and of a job type's `enqueue` raise.
    """

    def __init__(self, settings: Settings, *, redis_url: str | None = None) -> None:
        """`redis_url` replaces the `redis_url` of the settings."""
        self._settings = settings
        self._redis_url = redis_url
        self._opened: _Opened | None = None
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and what other threads wait for by it. A later call opens a new one."""
        with self._own_lock:
            opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():
            opened.loop.close(opened.client.__aexit__(None, None, None))

    def options(self, **options: Unpack[GivenOptions]) -> SyncEnqueuing:
        """`client.options(delay="10m").enqueue(…)` puts a job with these options; they hold for that call alone."""
        return SyncEnqueuing(self, options)

    @overload
    def enqueue(self, job_type: Chain[Result] | Group[Result], /) -> SyncJob[Result]: ...

    @overload
    def enqueue(self, job_type: str, args: Mapping[str, Any], /) -> SyncJob[Any]: ...

    @overload
    def enqueue(self, job_type: TakesArgs[P, Any, Result], /, *ready: P.args, **args: P.kwargs) -> SyncJob[Result]: ...

    def enqueue(self, job_type: Any, /, *ready: Any, **args: Any) -> Any:
        """Puts a job, a chain or a group. You can name a job's type in three ways:

        >>> client.enqueue(welcome_email, to="ada@example.com", name="Ada")  # args by name
        >>> client.enqueue(welcome_email, Welcome(to="ada@example.com", name="Ada"))  # args as the type's model
        >>> client.enqueue("welcome_email", {"to": "ada@example.com", "name": "Ada"})  # without the type's module
        >>> client.enqueue(chain(fetch.s(url=url), count.s(text=PREVIOUS)))
        """
        if isinstance(job_type, Chain | Group):
            opened = self.opened()
            put: Coroutine[Any, Any, Any] = job_type.enqueue()
            return SyncJob(opened.loop, opened.loop.run(put))
        return self.options().enqueue(job_type, *ready, **args)

    def enqueue_many(self, job_type: Any, many_args: Iterable[Any], /) -> list[SyncJob[Any]]:
        """Puts up to 10,000 jobs of one type in one call: all or none."""
        return self.options().enqueue_many(job_type, many_args)

    @overload
    def job(self, job_id: str, /) -> SyncJob[Any]: ...

    @overload
    def job(self, job_id: str, job_type: JobType[Any, Result], /) -> SyncJob[Result]: ...

    def job(self, job_id: str, job_type: JobType[Any, Any] | None = None, /) -> SyncJob[Any]:
        """A handle for a job that any program put before, as `Client.job` has it."""
        opened = self.opened()
        found = opened.client.job(job_id) if job_type is None else opened.client.job(job_id, job_type)
        return SyncJob(opened.loop, found)

    @property
    def _own_lock(self) -> threading.Lock:
        """That of this process: one that another thread held at a fork is never released in the child."""
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def opened(self) -> _Opened:
        """The connection of this process; it opens one if there is none."""
        with self._own_lock:
            # a fork has the memory of its parent and none of its threads
            if self._opened is None or self._opened.pid != os.getpid():
                loop, client = Loop(), Client(self._settings, redis_url=self._redis_url)
                try:
                    loop.run(client.__aenter__())
                except BaseException:
                    loop.close()
                    raise
                self._opened = _Opened(os.getpid(), loop, client)
            return self._opened


@dataclass(frozen=True, slots=True)
class SyncEnqueuing:
    """A client with options for the jobs that it puts."""

    client: SyncClient
    options: GivenOptions

    @overload
    def enqueue(self, job_type: str, args: Mapping[str, Any], /) -> SyncJob[Any]: ...

    @overload
    def enqueue(self, job_type: TakesArgs[P, Any, Result], /, *ready: P.args, **args: P.kwargs) -> SyncJob[Result]: ...

    def enqueue(self, job_type: Any, /, *ready: Any, **args: Any) -> Any:
        """Puts a job, as `SyncClient.enqueue` does."""
        opened = self.client.opened()
        call = (
            opened.client.enqueue(job_type, *ready, **self.options)
            if isinstance(job_type, str)
            else job_type.options(**self.options).enqueue(*ready, **args)
        )
        return SyncJob(opened.loop, opened.loop.run(call))

    def enqueue_many(self, job_type: Any, many_args: Iterable[Any], /) -> list[SyncJob[Any]]:
        """Puts jobs, as `SyncClient.enqueue_many` does."""
        opened = self.client.opened()
        many: Sequence[Any] = list(many_args)
        call = (
            opened.client.enqueue_many(job_type, many, **self.options)
            if isinstance(job_type, str)
            else job_type.options(**self.options).enqueue_many(many)
        )
        return [SyncJob(opened.loop, handle) for handle in opened.loop.run(call)]


@dataclass(frozen=True, slots=True)
class _Opened:
    pid: int
    loop: Loop
    client: Client


async def _next(events: AsyncIterator[JobUpdate]) -> JobUpdate | None:
    return await anext(events, None)
