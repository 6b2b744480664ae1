"""Waits for a Redis that is away instead of ending the worker, and says so once, not at every try."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import structlog
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)

REDIS_DEADLINE_S = 1.7
"""A client is promised an answer within 2 s if Redis is away."""


REPLY_TIMEOUT_S = 1.5
"""For one reply of Redis; `REDIS_DEADLINE_S` bounds a whole request."""


REDIS_RETRY_S = 2


log = structlog.get_logger("errand.redis")


T = TypeVar("T")


REFUSED_FOR_NOW = (
    *("MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "BUSY ", "MISCONF", "UNBLOCKED", "TRYAGAIN"),
    "ERRANDMOVE",  # our own: the jobs there are moved to another server (redis/parts/moving.lua)
    "Protocol error: unauthenticated",  # a password is missing, and the call too large to be refused in the usual words
)
"""How such answers begin that redis-py makes no class of."""


REFUSED_IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")
"""How Valkey and Redis 7 begin to say that a script may not do what it does."""


BACKOFF_CAP_S = 1.0
"""Redis is asked at least this often, so that work goes on within two seconds of its return."""


class KeysAway(ResponseError):
    """A node of a cluster has not all keys of the call, at the moment or any more; it has done nothing of it."""


def is_outage(error: BaseException) -> bool:
    """True if Redis cannot take the call now but may later: away, loading, failing over, out of memory, forbidden."""
    known = isinstance(error, ResponseError) and str(error).startswith(REFUSED_FOR_NOW)
    return known or isinstance(error, Outage.ERRORS) or lacks_right(error)


def may_be_done(error: BaseException) -> bool:
    """True if a call that failed so may have been done all the same, or be done yet: only its answer is missing."""
    answered = isinstance(error, ResponseError | BusyLoadingError)
    # as redis-py says that there is no server: nothing was sent
    if answered or "connecting to" in str(error):
        return False
    return isinstance(error, asyncio.CancelledError) or is_outage(error)


def lacks_right(error: BaseException) -> bool:
    """True if the user of this connection may not run the command, or not with this key; an operator can change it."""
    in_script = isinstance(error, ResponseError) and str(error).startswith(REFUSED_IN_SCRIPT)
    return in_script or isinstance(error, NoPermissionError)


@contextmanager
def missed() -> Iterator[None]:
    """For a call that may be missed while Redis is away."""
    try:
        yield
    except Exception as error:
        if not is_outage(error):
            raise


async def within(deadline_s: float | None, call: Coroutine[Any, Any, T]) -> T:
    """The answer of a call; redis' TimeoutError after `deadline_s` seconds, even if the call goes on.

    It is left behind, not waited for: in Python 3.11 `asyncio.wait_for` inside redis-py can swallow a cancellation and
    go on to its next time limit.
    """
    if deadline_s is None:
        return await call
    calling = asyncio.ensure_future(call)
    try:
        await asyncio.wait({calling}, timeout=deadline_s)
    finally:
        if not calling.done():
            calling.cancel()
            calling.add_done_callback(lambda left: left.cancelled() or left.exception())
    if not calling.done():
        raise TimeoutError(f"no answer within {deadline_s:g} s")
    return calling.result()


class Outage:
    """The state of one connection: fine, or away since some moment."""

    ERRORS: ClassVar[tuple[type[Exception], ...]] = (
        ConnectionError,
        TimeoutError,
        BusyLoadingError,
        ReadOnlyError,
        OutOfMemoryError,
        KeysAway,
        OSError,
    )

    def __init__(self, *, quiet: bool = False) -> None:
        """`quiet`: another connection of this process logs it."""
        self._since_s: float | None = None
        self._level = logging.DEBUG if quiet else logging.WARNING

    @property
    def lasts(self) -> bool:
        """Redis did not answer when it was asked last."""
        return self._since_s is not None

    async def outlast(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of `call`, tried until Redis takes it; any other error is raised."""
        while True:
            try:
                answer = await call()
            except Exception as error:  # noqa: BLE001  # sorted by wait_out, which raises what is no outage
                await self.wait_out(error)
            else:
                self.note_end()
                return answer

    async def wait_out(self, error: Exception) -> None:
        """A wait that grows with the outage, with jitter; raises `error` if it is no outage."""
        if not is_outage(error):
            raise error
        if self._since_s is None:
            self._since_s = time.monotonic()
            log.log(self._level, "redis is away, waiting for it", error=str(error))
        away_s = time.monotonic() - self._since_s
        await asyncio.sleep(min(0.1 + away_s / 2, BACKOFF_CAP_S) * random.uniform(0.5, 1))  # noqa: S311  # jitter

    def note_end(self) -> None:
        """Redis has answered."""
        if self._since_s is not None:
            log.log(min(self._level, logging.INFO), "redis is back", away_s=round(time.monotonic() - self._since_s, 1))
            self._since_s = None
