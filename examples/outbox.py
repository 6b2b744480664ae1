"""Jobs written with your own commit: a transactional outbox in your database, relayed to the queue.

A process that dies between a commit and `enqueue` would lose the job; one that enqueues first would run a job for a row
that is rolled back. Here the row and the job are committed together, and a relay puts what it finds. The id of the job
is that of its row, so that a relay that dies between the two steps puts none twice.

    .venv/bin/python -m examples.outbox
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from errand import Client, Context, Settings, job
from errand.job.job_type import JobType
from errand.wire.job_id import new_job_id


class Signup(BaseModel):
    """Somebody who has signed up."""

    email: str


@job(max_tries=8, timeout_s=60)
async def greet(ctx: Context, args: Signup) -> str:
    """Says hello."""
    return f"Hello {args.email}"


TYPES: dict[str, JobType[Signup, str]] = {greet.name: greet}
"""The job types that the outbox may hold."""


def opened(path: Path) -> sqlite3.Connection:
    """The application's database, with the table of jobs to relay."""
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS users (email TEXT PRIMARY KEY)")
    database.execute("CREATE TABLE IF NOT EXISTS outbox (job_id TEXT PRIMARY KEY, type TEXT, args TEXT)")
    return database


def sign_up(database: sqlite3.Connection, email: str) -> str:
    """A user and a job, in one commit: both, or neither. Returns the id of the job."""
    job_id = new_job_id()
    with database:
        args = Signup(email=email).model_dump_json()
        database.execute("INSERT INTO outbox VALUES (?, ?, ?)", (job_id, greet.name, args))
        database.execute("INSERT INTO users VALUES (?)", (email,))
    return job_id


async def relay(database: sqlite3.Connection) -> int:
    """Puts what is in the outbox, and takes out what was put; returns how many. A `Client` is open around it.

    Call it after each commit, and now and then for what a process left that died in between.
    """
    rows = database.execute("SELECT job_id, type, args FROM outbox ORDER BY job_id LIMIT 1000").fetchall()
    for job_id, type_name, args in rows:
        # a job of this id that exists already is left as it is
        await TYPES[type_name].options(job_id=job_id).enqueue(TypeAdapter(Signup).validate_json(args))
        with database:
            database.execute("DELETE FROM outbox WHERE job_id = ?", (job_id,))
    return len(rows)


async def main(settings: Settings) -> None:
    """Signs somebody up and relays."""
    database = opened(settings.data_dir / "outbox.db")
    sign_up(database, f"{new_job_id()}@example.com")
    async with Client(settings):
        print(await relay(database), "jobs were put")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Settings.read()))
