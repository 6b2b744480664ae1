"""Removes what another program has written over the keys of a queue, so that one bad key stops neither queue nor view.

Only a foreign hand makes a key of a wrong type, or a counter that is no number. What it held is lost, and the log says
which key it was; a job whose own key it was may be lost with it, and no other one is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from errand.redis import script
from errand.redis.outage import is_outage
from errand.wire import keys

T = TypeVar("T")

log = structlog.get_logger("errand.redis")


FIRST_DUE = 1_000
"""So many of the jobs that are due first are looked at: a claim takes fewer."""


def may_be_repaired(error: BaseException) -> bool:
    """True for an error that a bad key can be the cause of: Redis understood a call, and could not do it."""
    return isinstance(error, ResponseError) and not is_outage(error)


async def repair(redis: Redis, queue: str, *, job_ids: Sequence[str] = ()) -> None:
    """Removes bad keys of that queue (its key), of the jobs that are named, run or are due first, and of all queues.

    Raises redis' errors.
    """
    types = keys.types(queue, job_ids)
    removed: list[bytes] = await script.load(redis, "redis/repair")(keys=list(types), args=[FIRST_DUE, *types.values()])
    for key, what in zip(removed[::2], removed[1::2], strict=True):
        names = {"key": key.decode(errors="replace"), "was": what.decode(errors="replace")}
        log.error("a key that another program has written was removed", **names)


async def repairing(redis: Redis, queue: str, call: Callable[[], Awaitable[T]]) -> T:
    """The answer of `call`; if bad keys of the queue may have made it fail, of a second call without them.

    The second call is made even if no bad key is found: another process may have removed it a moment ago.
    """
    try:
        return await call()
    except ResponseError as error:
        if not may_be_repaired(error):
            raise
        await repair(redis, queue)
        return await call()
