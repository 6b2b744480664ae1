"""The answers of a pipeline that asks the same of several: a row for each, so that positions need not be counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Row = TypeVar("Row")

TURN_BYTES = 256 * 1024
"""To read so much of jobs' JSON takes a few milliseconds. Fifty large jobs at once held up the loop for 0.3 s, and for
more than a second if a text was looked for in them."""


def _bytes_in(value: Any) -> int:
    if isinstance(value, bytes):
        return len(value)
    return sum(map(_bytes_in, value)) if isinstance(value, list | tuple) else 0


async def in_turns(rows: Iterable[Row], *, bytes_in: Callable[[Row], int] = _bytes_in) -> AsyncIterator[Row]:
    """The same rows, for what takes time with the bytes in each: after so many bytes others have a turn of the loop."""
    taken = 0
    for row in rows:
        if taken > TURN_BYTES:
            taken = 0
            await asyncio.sleep(0)
        yield row
        taken += bytes_in(row)


def rows_of(answers: Sequence[Any], width: int) -> Iterator[tuple[Any, ...]]:
    """`for queue, (depth, paused) in zip(queues, rows_of(answers, 2), strict=True)`: `width` answers for each.

    Raises ValueError if the answers do not fill whole rows: a command was added and its answer would go to another.
    """
    if len(answers) % width:
        raise ValueError(f"{len(answers)} answers are no rows of {width}")
    return (tuple(answers[start : start + width]) for start in range(0, len(answers), width))
