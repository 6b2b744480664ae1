"""The kinds of functions that may be jobs: with dependencies, blocking ones in a thread, computations in a process.

JOB_PACKAGES=examples.functions .venv/bin/python -m errand worker
.venv/bin/python -m examples.functions
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from pydantic import BaseModel

from errand import Client, Context, Depends, Settings, job


class Text(BaseModel):
    """Something to count."""

    text: str


class Numbers(BaseModel):
    """Up to which number to count primes."""

    below: int


class Rates:
    """What is costly to open: one for a whole worker."""

    opened = 0


async def rates() -> AsyncIterator[Rates]:
    """Opened at the start of the worker, closed at its end."""
    Rates.opened += 1
    yield Rates()
    Rates.opened -= 1


def database() -> Iterator[sqlite3.Connection]:
    """A transaction for each attempt: committed if it succeeds, rolled back if it raises."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


Database = Annotated[sqlite3.Connection, Depends(database)]


async def words(database: Database, ctx: Context) -> list[str]:
    """A dependency may have its own, and may ask for the attempt."""
    return [row[0] for row in database.execute("SELECT ?", (ctx.job_id,))]


@job()
async def count_words(
    ctx: Context,
    args: Text,
    database: Database,
    found: Annotated[list[str], Depends(words)],
    rates: Annotated[Rates, Depends(rates, scope="worker")],
) -> int:
    """Both it and `words` are given the same connection, which is closed after the attempt."""
    assert found == [ctx.job_id]
    assert rates.opened == 1
    return int(database.execute("SELECT length(?)", (args.text,)).fetchone()[0])


@job(timeout_s=30)
def copy_slowly(ctx: Context, args: Text, database: Database) -> str:
    """A `def` may block: it has a thread. `ctx.wait` is its `await`."""
    ctx.wait(ctx.progress(0.5, "half way"))
    return str(database.execute("SELECT upper(?)", (args.text,)).fetchone()[0])


@job(process=True, queue="cpu", timeout_s=30)
def count_primes(args: Numbers) -> int:
    """A computation: in a process of its own, which is killed after 30 seconds, or if the job is cancelled."""
    return sum(all(number % divisor for divisor in range(2, number)) for number in range(2, args.below))


async def main(settings: Settings) -> list[object]:
    """One of each."""
    async with Client(settings):
        counted = await count_words.enqueue(text="hello")
        copied = await copy_slowly.enqueue(text="hello")
        primes = await count_primes.enqueue(below=30)
        return [await counted.result(timeout_s=60), await copied.result(timeout_s=60), await primes.result()]


if __name__ == "__main__":
    print(asyncio.run(main(Settings.read())))  # noqa: T201
