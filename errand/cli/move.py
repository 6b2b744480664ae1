"""What `errand move` and `errand move-from-arq` do: open both servers, move, and say each step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote

from redis.exceptions import RedisError

from errand.cli.terminal import harmless
from errand.job.catalog import discover
from errand.move.from_arq import FromArq
from errand.move.to_redis import Move, MoveRefused, Server, new_client_name
from errand.process import start
from errand.redis.connection import connect
from errand.redis_url import RedisUrl
from errand.secrets import redaction
from errand.settings import Settings

REPLY_TIMEOUT_S = 60.0
"""Patience with a server that a large answer keeps busy: nobody waits for a request here."""

LEFT = 3
"""The exit code if jobs were left in Arq's queue."""


def move(settings: Settings, url: str, *, cancel: bool, beside_other_data: bool, ignore_connections: bool) -> int:
    """Moves the jobs of this installation's Redis to the one at `url`; returns the exit code."""

    async def moved(own: Server, other: Server) -> int:
        moving = Move(own, other, beside_other_data=beside_other_data, ignore_connections=ignore_connections, say=say)
        await (moving.cancel() if cancel else moving.run())
        if not cancel:
            say("next: set REDIS_URL to the new server everywhere, then start API and workers")
        return 0

    return _with_both(settings, url, moved)


def move_from_arq(settings: Settings, url: str, *, arq_queue: str) -> int:
    """Moves the jobs of a stock Arq queue at `url` to this installation's Redis; returns the exit code."""
    with start.exit_if_unusable():
        job_types = discover(settings.packages)

    async def moved(own: Server, other: Server) -> int:
        moving = FromArq(
            other, own, arq_queue=arq_queue, job_types=job_types, result_ttl_s=settings.result_ttl_s, say=say
        )
        return LEFT if await moving.run() else 0

    return _with_both(settings, url, moved)


def say(line: str) -> None:
    """Prints a line; what stands in it of the jobs of another program may be anything."""
    print(harmless(line), flush=True)


def _with_both(settings: Settings, url: str, call: Callable[[Server, Server], Awaitable[int]]) -> int:
    """The result of `call` with this installation's server and the one at `url`; exits with one line for an error."""
    passwords = RedisUrl.parse(url).passwords
    redaction.configure([*settings.secrets, *passwords, *map(unquote, passwords)])
    with start.redis_url(settings) as own_url:
        shown = None if settings.redis_url else f"the embedded Redis of {settings.data_dir}"
        try:
            return asyncio.run(_called(own_url, shown, url, call))
        except (MoveRefused, RedisError, OSError, ValueError) as error:
            raise SystemExit(f"errand move: {redaction.hide(' '.join(str(error).split()))}") from None


async def _called(own_url: str, shown: str | None, url: str, call: Callable[[Server, Server], Awaitable[int]]) -> int:
    async with _server(own_url, shown) as own, _server(url) as other:
        return await call(own, other)


@asynccontextmanager
async def _server(url: str, shown: str | None = None) -> AsyncIterator[Server]:
    redis = connect(url, reply_timeout_s=REPLY_TIMEOUT_S, name=new_client_name())
    try:
        yield Server(redis=redis, shown=shown or RedisUrl.parse(url).shown)
    finally:
        await redis.aclose()
