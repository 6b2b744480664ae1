"""Jobs written with your own commit: a transactional outbox in your database (SQLAlchemy), relayed to the queue.

A process that dies between a commit and `enqueue` would lose the job; one that enqueues first would run a job for a row
that is rolled back. Here the row and the job are committed together. The app relays right after its commit, and a job
of a schedule relays what an app left that died in between. The id of the job is that of its row, so that a relay that
dies between the queue and the database puts none twice.

    JOB_PACKAGES=examples.outbox .venv/bin/python -m errand worker     # runs the jobs, and relays each minute
    .venv/bin/python -m examples.outbox                                # signs somebody up
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy import JSON, delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from errand import Client, Context, JobType, Settings, job
from errand.wire.job_id import new_job_id

log = structlog.get_logger("outbox")

Args = TypeVar("Args", bound=BaseModel)

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """The tables of the app."""


class User(Base):
    """Somebody who has signed up."""

    __tablename__ = "users"
    email: Mapped[str] = mapped_column(primary_key=True)


class OutboxRow(Base):
    """A job that is to be put, written together with the rows that it belongs to."""

    __tablename__ = "outbox"
    job_id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    args: Mapped[dict[str, Any]] = mapped_column(JSON)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Sessions]:
    """The app's database: opened once by the app, and once by a worker for its jobs."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{settings.data_dir.resolve()}/outbox.db")
    try:
        async with engine.begin() as connection:
            for table in Base.metadata.sorted_tables:
                # not create_all, which looks first: app and worker may start at once
                await connection.execute(CreateTable(table, if_not_exists=True))
        yield async_sessionmaker(engine)
    finally:
        await engine.dispose()


def write_job(session: AsyncSession, job_type: JobType[Args, Any], args: Args) -> str:
    """Adds a job to the transaction of the caller: it is put if that is committed. Returns the id of the job."""
    row = OutboxRow(job_id=new_job_id(), type=job_type.name, args=args.model_dump(mode="json"))
    session.add(row)
    return row.job_id


class Signup(BaseModel):
    """Whom to greet."""

    email: str


@job(max_tries=8, timeout_s=60)
async def greet(ctx: Context, args: Signup) -> str:
    """Says hello."""
    return f"Hello {args.email}"


TYPES: dict[str, JobType[Any, Any]] = {greet.name: greet}
"""The job types that the outbox may hold."""


async def sign_up(sessions: Sessions, email: str) -> str:
    """A user and a job, in one commit: both, or neither. Returns the id of the job."""
    async with sessions.begin() as session:
        session.add(User(email=email))
        return write_job(session, greet, Signup(email=email))


BATCH = 100
"""Rows that are put together, and then deleted in one commit."""


async def relay(sessions: Sessions) -> int:
    """Puts the jobs in the outbox, and deletes the rows of those that were put; returns how many. Any number of
    processes may do it at once. A `Client` is open around it, or it is called in a job.
    """
    last_id, put = "", 0
    while rows := await _rows_behind(sessions, last_id):
        # side by side they share a call to Redis
        answers = await asyncio.gather(*map(_put, rows))
        done = [row.job_id for row, is_put in zip(rows, answers, strict=True) if is_put]
        async with sessions.begin() as session:
            await session.execute(delete(OutboxRow).where(OutboxRow.job_id.in_(done)))
        last_id, put = rows[-1].job_id, put + len(done)
    return put


async def _rows_behind(sessions: Sessions, last_id: str) -> Sequence[OutboxRow]:
    async with sessions() as session:
        oldest = select(OutboxRow).where(OutboxRow.job_id > last_id).order_by(OutboxRow.job_id).limit(BATCH)
        return (await session.scalars(oldest)).all()


async def _put(row: OutboxRow) -> bool:
    """True if there is such a job now; a job of this id that was put before is left as it is."""
    try:
        job_type = TYPES[row.type]
        await job_type.options(job_id=row.job_id).enqueue(job_type.args_model.model_validate(row.args))
    except (KeyError, ValidationError):
        # it must not keep the others: it stays until somebody has looked at it
        log.exception("a row of the outbox is no job", job_id=row.job_id, type=row.type)
        return False
    return True


class Nothing(BaseModel):
    """No args."""


@job(schedule="* * * * *", max_tries=5, timeout_s=300, uses=[database])
async def relay_outbox(ctx: Context, args: Nothing) -> int:
    """Relays what an app has committed and not put, since it died or Redis was away."""
    return await relay(ctx.use(database))


async def main(settings: Settings) -> None:
    """Signs somebody up and relays."""
    async with Client(settings) as client, database(settings) as sessions:
        job_id = await sign_up(sessions, f"{new_job_id()}@example.com")
        await relay(sessions)
        print(await client.job(job_id).result(timeout_s=60))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Settings.read()))
