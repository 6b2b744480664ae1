"""`examples/outbox.py`: what was committed is put once, what was rolled back never, whenever a relay is killed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from sqlalchemy.exc import IntegrityError

from errand import Client
from errand.testing import JobsUnderTest
from errand.testing.waiting_jobs import WaitingJobs
from examples import outbox
from examples.outbox import OutboxRow, Signup, greet
from settings import Settings
from tests.conftest import make_settings
from tests.processes.conftest import House
from tests.processes.conftest import new_house as new_house
from tests.waiting import eventually

PACKAGES = "examples.outbox"

ADA, EVE = "ada@example.com", "eve@example.com"


async def test_processes_that_start_together_find_or_make_the_tables(errand_settings: Settings) -> None:
    async def opened() -> None:
        async with outbox.database(errand_settings):
            pass

    errand_settings.data_dir.mkdir(exist_ok=True)
    await asyncio.gather(*(opened() for _ in range(8)))


async def test_what_is_committed_is_put_and_what_is_rolled_back_or_is_no_job_is_not(
    client: Client, jobs: JobsUnderTest, errand_settings: Settings
) -> None:
    async with outbox.database(errand_settings) as sessions:
        first = await outbox.sign_up(sessions, ADA)
        with pytest.raises(IntegrityError):
            await outbox.sign_up(sessions, ADA)
        async with sessions.begin() as session:
            session.add(OutboxRow(job_id="0", type="gone", args={}))
        await outbox.sign_up(sessions, EVE)
        assert await outbox.relay(sessions) == 2
        assert await outbox.relay(sessions) == 0
        assert jobs.added_of(greet) == [Signup(email=ADA), Signup(email=EVE)]
        assert await client.job(first).status() == "queued"
        assert [job.result for job in await jobs.run_all()] == [f"Hello {ADA}", f"Hello {EVE}"]
        assert [row.job_id for row in await outbox._rows_behind(sessions, "")] == ["0"], "it keeps none from its turn"


USERS = 20


def test_a_relay_that_is_killed_between_the_queue_and_the_database_loses_none_and_doubles_none(
    redis: ArqRedis, redis_url: str, new_house: Callable[..., House]
) -> None:
    house = new_house(environment={"REDIS_URL": redis_url, "JOB_PACKAGES": PACKAGES})
    house.data_dir.mkdir()
    settings = make_settings(house.data_dir, redis_url=redis_url, job_packages=PACKAGES)
    ids = asyncio.run(signed_up(settings))
    path = house.data_dir / "outbox.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holding:
        # the relay can read, and cannot delete what it has put
        holding.execute("BEGIN IMMEDIATE")
        relaying = house.start("errand", "worker")
        asyncio.run(put_by_worker(settings, ids))
        relaying.kill()
        relaying.wait()
    assert left(path) == USERS
    asyncio.run(relayed_once_more(settings))
    assert left(path) == 0
    seen = WaitingJobs(redis_url)
    emails = [args["email"] for type_name, args in seen.added() if type_name == greet.name]
    seen.close()
    assert emails == [f"{number}@example.com" for number in range(USERS)]


async def signed_up(settings: Settings) -> list[str]:
    async with outbox.database(settings) as sessions:
        return [await outbox.sign_up(sessions, f"{number}@example.com") for number in range(USERS)]


async def put_by_worker(settings: Settings, ids: list[str]) -> None:
    """Has the worker relay, and returns when it has put the jobs with those ids."""
    async with Client(settings) as client:
        await outbox.relay_outbox.enqueue()

        async def are_put() -> bool:
            try:
                return all([await client.job(job_id, greet).status() for job_id in ids])
            except LookupError:
                return False

        await eventually(are_put)


async def relayed_once_more(settings: Settings) -> None:
    async with Client(settings), outbox.database(settings) as sessions:
        assert await outbox.relay(sessions) == USERS


def left(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM outbox").fetchone()[0])
