"""Asks several servers the same at once: partitions hold parts of one answer, and none is to wait for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.asyncio import Redis

S = TypeVar("S")


T = TypeVar("T")


async def of_each(asked: Sequence[S], read: Callable[[S], Awaitable[T]]) -> list[T]:
    """What `read` answers for each of them, in their order; one alone is asked without a task of its own.

    Raises the first error of any of them: an answer without a part would look like a whole one.
    """
    if len(asked) == 1:
        return [await read(asked[0])]
    return await asyncio.gather(*map(read, asked))


async def values_anywhere(clients: Sequence[Redis], names: Sequence[str]) -> list[bytes | None]:
    """The value of each of these keys, in whichever partition it is; None if it is in none. Raises redis' errors."""
    of_parts = await of_each(clients, lambda redis: redis.mget(names))
    return [next((value for value in values if value is not None), None) for values in zip(*of_parts, strict=True)]
