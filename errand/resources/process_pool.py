"""Processes for CPU work: the event loop never waits for a computation, and one that takes too long is killed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import pebble

from errand.job.control import Crash
from errand.resources import pool_process

P = ParamSpec("P")


T = TypeVar("T")


COMPUTATIONS_OF_A_PROCESS = 500
"""Then a fresh process takes its place, so that what native code leaks does not add up."""


class ProcessDied(Crash):
    """The process ended under the computation: out of memory, a crash in native code, a kill."""


class CpuTimeSpent(Exception):
    """The computation used more CPU time than it had set itself as a limit; another try would do the same."""


class PoolBroken(Exception):
    """The pool, or all of its processes, ended before the computation did; the computation was not the cause."""


class ProcessPool:
    """A fixed number of processes. If none is free, a computation waits for its turn, without a limit."""

    def __init__(self, processes: int, *, memory_limit_bytes: int | None = None) -> None:
        self._processes = processes
        self._memory_limit_bytes = memory_limit_bytes
        self._closed = False
        self._start_pool()

    @classmethod
    @asynccontextmanager
    async def open(cls, *, processes: int, memory_limit_bytes: int | None = None) -> AsyncIterator[ProcessPool]:
        """Processes start at the first computation. They end with the block, and running computations with them.

        Each gets at most `memory_limit_bytes` beside what it starts with: past it an allocation fails.
        """
        pool = cls(processes, memory_limit_bytes=memory_limit_bytes)
        try:
            yield pool
        finally:
            pool._closed = True
            await asyncio.to_thread(_stop, pool._pool, pool._computations)

    async def run(self, timeout_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, or raises, in another process. It must be importable, its values picklable.

        `timeout_s` counts from the start of the computation. After it, or if the caller is cancelled, the process is
        killed. A computation can limit its own CPU time, see `pool_process.limit_cpu_time`.
        Raises TimeoutError, CpuTimeSpent, ProcessDied, PoolBroken.
        """
        try:
            return await asyncio.wrap_future(self._begin(timeout_s, (function, args, kwargs)))
        except (TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError(f"{function.__name__} ran longer than {timeout_s:g} s") from None
        except pebble.ProcessExpired as error:
            if error.exitcode == -signal.SIGPROF:
                raise CpuTimeSpent(f"{function.__name__} used more CPU time than it may") from None
            raise ProcessDied(f"the process running {function.__name__} died with exit code {error.exitcode}") from None
        except BrokenProcessPool:
            raise PoolBroken(f"the pool ended before {function.__name__} did") from None

    def _begin(self, timeout_s: float, call: tuple[Any, ...]) -> pebble.ProcessFuture[Any]:
        """pebble gives up the whole pool if an idle process dies: then a new pool replaces it."""
        if self._closed:
            raise BrokenProcessPool("the pool is closed")
        if not self._pool.active:
            threading.Thread(target=_stop, args=[self._pool, self._computations], daemon=True).start()
            self._start_pool()
        future = self._pool.schedule(pool_process.compute, args=call, timeout=timeout_s)
        self._computations.add(future)
        future.add_done_callback(self._computations.discard)
        return future

    def _start_pool(self) -> None:
        # spawn: a fork would copy the loop's threads and sockets into every process
        context = multiprocessing.get_context("spawn")
        self._pool = pebble.ProcessPool(
            max_workers=self._processes,
            max_tasks=COMPUTATIONS_OF_A_PROCESS,
            initializer=pool_process.start,
            initargs=(self._memory_limit_bytes,),
            context=context,
        )
        self._computations: set[pebble.ProcessFuture[Any]] = set()


def _stop(pool: pebble.ProcessPool, computations: set[pebble.ProcessFuture[Any]]) -> None:
    """pebble stops without a word to those who wait, unless a process happens to be seen ending first."""
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
    for future in tuple(computations):
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it ended or was cancelled just now
            future.set_exception(BrokenProcessPool("the pool was stopped"))
