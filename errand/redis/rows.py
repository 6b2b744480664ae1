"""The answers of a pipeline that asks the same of several: a row for each, so that positions need not be counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def rows_of(answers: Sequence[Any], width: int) -> Iterator[tuple[Any, ...]]:
    """`for queue, (depth, paused) in zip(queues, rows_of(answers, 2), strict=True)`: `width` answers for each.

    Raises ValueError if the answers do not fill whole rows: a command was added and its answer would go to another.
    """
    if len(answers) % width:
        raise ValueError(f"{len(answers)} answers are no rows of {width}")
    return (tuple(answers[start : start + width]) for start in range(0, len(answers), width))
