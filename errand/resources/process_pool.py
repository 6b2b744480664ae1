"""Processes for CPU work, so that the event loop never waits for a computation, and one that runs over is stopped."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

import pebble

from errand.job.control import Crash

P = ParamSpec("P")


T = TypeVar("T")


NICE = 10
"""A computation yields the processor to the event loops of API and worker, which only want it for moments."""


class ProcessDied(Crash):
    """The process ended under the computation: out of memory, a crash in native code, a kill."""


class PoolBroken(Exception):
    """The pool ended, or all of its processes, before the computation did, which had no part in that."""


class ProcessPool:
    """A fixed number of processes; what finds none free waits its turn without a limit."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._new_pool()

    @classmethod
    @asynccontextmanager
    async def open(cls, *, processes: int) -> AsyncIterator[ProcessPool]:
        """Processes start at the first computation and end with the block, computations with them."""
        pool = cls(processes)
        try:
            yield pool
        finally:
            await asyncio.to_thread(_stop, pool._pool)

    async def run(self, timeout_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, or raises, in another process. It must be importable, its values picklable.

        `timeout_s` counts from the moment it starts; over it, or when the caller is cancelled, its process is killed.
        Raises TimeoutError, ProcessDied, PoolBroken.
        """
        future = self._usable_pool().schedule(function, args=args, kwargs=kwargs, timeout=timeout_s)
        try:
            return await asyncio.wrap_future(future)
        except (TimeoutError, concurrent.futures.TimeoutError):
            raise TimeoutError(f"{function.__name__} ran longer than {timeout_s:g} s") from None
        except pebble.ProcessExpired as error:
            raise ProcessDied(f"the process running {function.__name__} died with exit code {error.exitcode}") from None
        except BrokenProcessPool:
            raise PoolBroken(f"the pool ended before {function.__name__} did") from None

    def _usable_pool(self) -> pebble.ProcessPool:
        """pebble gives a whole pool up when an idle process of it dies: then a new one takes its place."""
        if not self._pool.active:
            threading.Thread(target=_stop, args=[self._pool], daemon=True).start()
            self._pool = self._new_pool()
        return self._pool

    def _new_pool(self) -> pebble.ProcessPool:
        # spawn: a fork would copy the loop's threads and sockets into every process
        context = multiprocessing.get_context("spawn")
        return pebble.ProcessPool(max_workers=self._processes, initializer=_start_process, context=context)


def _stop(pool: pebble.ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _start_process() -> None:
    os.nice(NICE)
    # Ctrl-C in a terminal reaches every process of the group: the worker alone decides
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_worker, daemon=True).start()


def _end_with_worker() -> None:
    """A worker that was killed cannot stop its processes: they end themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
