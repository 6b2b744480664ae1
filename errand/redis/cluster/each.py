"""Asks several servers the same at once: partitions hold parts of one answer, and none is to wait for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

S = TypeVar("S")


T = TypeVar("T")


async def of_each(asked: Sequence[S], read: Callable[[S], Awaitable[T]]) -> list[T]:
    """What `read` answers for each of them, in their order; one alone is asked without a task of its own.

    Raises the first error of any of them: an answer without a part would look like a whole one.
    """
    if len(asked) == 1:
        return [await read(asked[0])]
    return await asyncio.gather(*map(read, asked))
