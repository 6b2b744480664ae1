"""A worker killed at each point of a conversation: how many letters arrive, and how the job ends, under each policy."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.settings import MAIL_QUEUE
from errand.wire import keys
from tests.conftest import RunWorker, make_settings
from tests.mail.crash_jobs import HANGS_AFTER, JOB_TYPES
from tests.mail.raw_server import MUTE, RawServer
from tests.programs import start
from tests.waiting import eventually

POLICIES = [job_type.name for job_type in JOB_TYPES]
QUEUE = keys.queue(MAIL_QUEUE)

SENT = {"resent_letter": (1, "succeeded"), "failed_letter": (1, "succeeded"), "held_letter": (1, "succeeded")}
NOT_SENT = {"resent_letter": (1, "succeeded"), "failed_letter": (0, "failed"), "held_letter": (0, "deferred")}
PERHAPS_SENT = {"resent_letter": (2, "succeeded"), "failed_letter": (1, "failed"), "held_letter": (1, "deferred")}


BEFORE_DATA = {"CONNECT": [b"220 ready", b"220 ready", MUTE], "MAIL": [b"250 OK", MUTE], "RCPT": [MUTE]}
"""Of three conversations the third gets no greeting, the second no reply to MAIL, the first none to RCPT."""


@contextmanager
def doomed_worker(folder: Path, redis_url: str, smtp_url: str, **more: str) -> Iterator[None]:
    """A worker process with a short lease; killed at the end, if it still lives."""
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "REDIS_URL": redis_url,
        "SMTP_URL": smtp_url,
        "JOB_PACKAGES": "tests.mail.crash_jobs",
        "WORKER_QUEUES": MAIL_QUEUE,
        "LEASE_S": "1",
        **more,
    }
    process = start("jobs", environment=environment, output=folder / "jobs.log")
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def stop_writes(redis: ArqRedis, all_have_come: asyncio.Barrier) -> None:
    """Once all the messages have come, so that each has had its marker set."""
    await all_have_come.wait()
    await redis.client_pause(60_000, all=False)


async def hold_one_each(raw: RawServer) -> bool:
    return [raw.said.count(command.encode()) for command in BEFORE_DATA] == [3, 2, 1]


async def all_are_marked(redis: ArqRedis, ids: Iterable[str]) -> bool:
    marks = [await redis.hget(keys.once(job_id), "sending") for job_id in ids]  # type: ignore[misc]  # types both
    return all(mark is not None and b"done" in mark for mark in marks)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("before DATA", SENT),  # one at the greeting, one at MAIL, one at RCPT
        ("DATA", NOT_SENT),  # the marker is set, and the server has nothing: it cannot be known from here
        ("HEADERS", NOT_SENT),  # in the midst of the message
        ("DOT", PERHAPS_SENT),
        ("250", PERHAPS_SENT),  # the server has said yes, and the marker does not know it yet
        ("MARKED", SENT),  # the marker knows it, and the job's end is not written
    ],
)
async def test_a_worker_killed_in_the_middle_of_a_letter(
    redis: ArqRedis,
    redis_url: str,
    run_worker: RunWorker,
    tmp_path: Path,
    point: str,
    expected: dict[str, tuple[int, str]],
) -> None:
    queue = Queue(redis, name=MAIL_QUEUE, ended_ttl_s=600)
    mute = {point.encode(): MUTE} if point in ("DATA", "HEADERS", "DOT") else {}
    async with RawServer.serving(mute, script=BEFORE_DATA if point == "before DATA" else None) as raw:
        if point == "250":
            raw.before_dot = partial(stop_writes, redis, asyncio.Barrier(len(POLICIES)))
        ids = {name: (await queue.enqueue(name, {"to": f"{name}@example.com"})).job_id for name in POLICIES}
        hangs = {HANGS_AFTER: "1"} if point == "MARKED" else {}
        with doomed_worker(tmp_path, redis_url, f"smtp://{raw.url}", **hangs):
            if point == "MARKED":
                await eventually(lambda: all_are_marked(redis, ids.values()))
            elif point == "before DATA":
                await eventually(lambda: hold_one_each(raw))
            else:
                await eventually(lambda: raw.has_come_to(point, len(ids)))
        await redis.client_unpause()
        raw.always, raw.replies, raw.before_dot = {}, {}, None
        async with run_worker(JOB_TYPES, make_settings(tmp_path, smtp_url=f"smtp://{raw.url}"), lease_s=1):
            for name, (_, status) in expected.items():

                async def settled(job_id: str = ids[name], status: str = status) -> bool:
                    job = await read_job(redis, job_id, queues=[QUEUE])
                    return job is not None and job.status == status and len(job.attempts) >= 2

                await eventually(settled)
    arrived = Counter(name for name in POLICIES for letter in raw.letters if f"{name}@".encode() in letter)
    assert {name: arrived[name] for name in POLICIES} == {name: count for name, (count, _) in expected.items()}
