"""Runs suspects in a process of their own, so that one that ends its process takes no other job along and is proved.

The worker keeps the job's lease and writes what becomes of it; the process makes the attempt, nothing else. It is
started for the first suspect and ends when there has been none for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from errand.job.control import Crash, Snooze
from errand.leases.leases import Claim
from errand.wire.records import Progress
from errand.worker.runners.attempt import Outcome

log = structlog.get_logger("errand.worker")


Attempted = tuple[Outcome, Progress | None, Mapping[str, int]]
"""How an attempt ended, its last report of progress, and what it has counted (`ctx.count`)."""


Asked = tuple[Claim, Mapping[str, Any]]
"""The claim of a job, and the args that the jobs for which it waited have given it: its body has none of these."""


READY = "ready"
"""What the process sends when it has opened what jobs need."""


CANCEL = "cancel"
"""What the process is sent to end the attempt under way."""


IDLE_S = 30.0
"""Without a suspect for so long the process ends: it takes as much memory as a worker."""


NOT_STARTED_S = 5.0
"""How long a suspect waits if the process did not start, which is not the job's fault: for want of memory, say."""


START_LIMIT_S = 60.0
"""A process that is not ready by then is killed: it imports all job types and opens what they use."""


OVERTIME_GRACE_S = 5.0
"""An attempt that is past its time limit by so much has not heeded it: it blocks its process."""


CANCEL_LIMIT_S = 5.0
"""An attempt that is cancelled and does not end within it is killed."""


class IsolatedDied(Crash):
    """The process of an isolated job ended under it."""


class Isolation:
    """The process for the suspects of one worker process; they run there one at a time."""

    def __init__(self, new_process: Callable[[Connection], BaseProcess]) -> None:
        """`new_process` makes the process, not started, that makes attempts for the other end of that connection."""
        self._new_process = new_process
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "isolation")
        self._sent = False
        """The process was sent the claim; it can be sent a cancel from then on."""
        self._idle: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def attempt(
        self, queue: str, asked: Asked, *, starts: Callable[[], Awaitable[None]], limit_s: float
    ) -> Attempted:
        """One attempt at the job, made there; `starts` is awaited right before it.

        Raises IsolatedDied if the process ends under it, Snooze if none starts, TimeoutError if it is past `limit_s`,
        the attempt's time limit, and does not end by itself. If the caller is cancelled, the attempt is: what it still
        came to is returned, else CancelledError is raised.
        """
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._running)
            await starts()
            # the process keeps to the limit itself, if the job lets it; a stopped clock does not count here
            async with asyncio.timeout(limit_s + OVERTIME_GRACE_S):
                return await self._answer(queue, asked)
        finally:
            self._idle = loop.call_later(IDLE_S, self._end)

    async def _answer(self, queue: str, asked: Asked) -> Attempted:
        answer = asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, queue, asked)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            if (ended := await self._cancel(answer)) is None:
                raise
            return ended

    async def close(self) -> None:
        """Ends the process, and an attempt in it."""
        if self._idle is not None:
            self._idle.cancel()
        self._is_closed = True
        self._end()
        await asyncio.to_thread(self._thread.shutdown)

    def _exchange(self, queue: str, asked: Asked) -> Attempted:
        """In the thread: the attempt is asked for, and its end awaited."""
        process, connection = self._running()
        try:
            connection.send((queue, asked))
            self._sent = True
            answer: Attempted = _received(connection, process)
        except (EOFError, OSError):
            process.join()
            raise IsolatedDied(f"alone in a process, it ended that with exit code {process.exitcode}") from None
        finally:
            self._sent = False
        return answer

    def _running(self) -> tuple[BaseProcess, Connection]:
        if self._process is not None and self._connection is not None and self._process.is_alive():
            return self._process, self._connection
        try:
            process, connection = self._process, self._connection = self._started()
            if self._is_closed:  # while it was started: nobody else would end it, and the worker's exit wait for it
                raise EOFError
            _received(connection, process, limit_s=START_LIMIT_S)
        except (EOFError, OSError) as error:
            # no memory or no process for it, say
            self._end()
            log.warning("the process for isolated jobs did not start", error=repr(error))
            raise Snooze("the process for isolated jobs did not start", after_s=NOT_STARTED_S) from None
        log.info("isolated jobs run in a process of their own", pid=process.pid)
        return process, connection

    def _started(self) -> tuple[BaseProcess, Connection]:
        connection, theirs = Pipe()
        with theirs:
            process = self._new_process(theirs)
            process.start()
        return process, connection

    async def _cancel(self, answer: asyncio.Future[Attempted]) -> Attempted | None:
        """What the attempt has come to all the same; None if it was interrupted."""
        if self._sent and self._connection is not None:
            try:
                self._connection.send(CANCEL)
            except OSError:
                log.debug("an isolated job ended its process while it was cancelled")
            await asyncio.wait([answer], timeout=CANCEL_LIMIT_S)
        if not answer.done():
            self._end()
            await asyncio.wait([answer])
        if answer.exception() is not None or answer.result()[0].status == "handed_back":
            return None
        return answer.result()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()


def _received(connection: Connection, process: BaseProcess, *, limit_s: float | None = None) -> Any:
    """What the process sends next. Raises EOFError or OSError if it ends before, TimeoutError past the limit."""
    # not by the end of the connection alone: what the worker has forked may hold it open
    if not wait([connection, process.sentinel], limit_s):
        raise TimeoutError
    if not connection.poll():
        raise EOFError
    return connection.recv()
