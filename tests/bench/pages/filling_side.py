"""Fills Redis with the jobs of a day, in the keys and records that workers write: ended, dead, waiting, counted."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Any

import uvloop
from arq.connections import ArqRedis

from errand.redis.connection import connect
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry
from errand.wire.job_id import new_job_id
from errand.wire.minute_counts import COUNTERS, MINUTES_IN_HOUR
from errand.wire.records import Attempt, Error, JobFailed
from tests.bench.candidate import main
from tests.bench.http_side import BODY

PART = 10_000
DAY_MS = 86_400_000
WEBHOOKS, MAIL = keys.queue("webhooks"), keys.queue("mail")
QUEUES = {"webhook": WEBHOOKS, "welcome_email": MAIL}
ARGS: Mapping[str, Mapping[str, Any]] = {
    "webhook": BODY,
    "welcome_email": {"to": "ada@example.com", "name": "Ada"},
}
RESULTS: Mapping[str, Mapping[str, Any]] = {
    "webhook": {"status": 204, "duration_s": 0.021, "remote": "203.0.113.7:443", "body": ""},
    "welcome_email": {"message_id": "<1@acme.example>", "accepted": ["ada@example.com"], "refused": {}},
}
LEAST_DEAD = 10
"""In each part: one of a hundred jobs has failed for good, and as many as a page shows where there are few jobs."""
FAULTS = tuple(f"Refused@errand.webhooks.deliverer:fault_{number}" for number in range(10))
TRACEBACK = "Traceback (most recent call last):\n" + '  File "deliverer.py", line 71, in deliver\n    check()\n' * 40


async def fill(url: str, kept: float, waiting: float) -> dict[str, Any]:
    """So many jobs that have ended in the last day, and so many that wait: due, or in the next hour."""
    redis = connect(url, reply_timeout_s=60)
    now_ms = int(time.time() * 1000)
    for part, (at, number) in enumerate(_parts(int(kept))):
        ended_ms = now_ms - int(DAY_MS * at / kept)
        name = "webhook" if part % 5 < 3 else "welcome_email"
        await _put_ended(redis, name, number, ended_ms=ended_ms, each_ms=DAY_MS / kept)
        await _put_dead(redis, max(number // 100, LEAST_DEAD), ended_ms=ended_ms, fault=FAULTS[part % len(FAULTS)])
    for part, (_, number) in enumerate(_parts(int(waiting))):
        await _put_waiting(redis, number, due_ms=now_ms - (2 if part % 4 else -3_600) * 1000)
    await _count_minutes(redis, now_ms)
    await redis.aclose()
    return {"filled": kept + waiting}


def _parts(number: int) -> Iterator[tuple[int, int]]:
    """Where each part begins, and how many jobs it has: few jobs come in as many parts as many do."""
    part = max(min(PART, number // 10), 1)
    return ((at, min(part, number - at)) for at in range(0, number, part))


async def _put_ended(redis: ArqRedis, name: str, number: int, *, ended_ms: int, each_ms: float) -> None:
    record = codec.dumps(_ended(name, ended_ms, {"s": True, "r": RESULTS[name]}))
    times = {new_job_id(): ended_ms - each_ms * at for at in range(number)}
    await redis.mset({keys.result(job_id): record for job_id in times})
    await _index(redis, QUEUES[name], f"succeeded:{name}", times)


async def _put_dead(redis: ArqRedis, number: int, *, ended_ms: int, fault: str) -> None:
    """Each with a result of its own: an entry of the index is known by the time in it."""
    times: dict[str, float] = {new_job_id(): ended_ms - at for at in range(number)}
    records, entries = {}, {}
    for job_id, at_ms in times.items():
        error = Error("Refused", "the receiver answered 503 Service Unavailable", TRACEBACK, fault)
        record = _ended("webhook", int(at_ms), {"s": False, "r": JobFailed(error)}, error)
        records[keys.result(job_id)] = codec.dumps(record)
        entries[str(DeadEntry.of(job_id, "webhook", error, ended_at_ms=int(at_ms)))] = at_ms
    await redis.mset(records)
    await redis.zadd(keys.dead(WEBHOOKS), entries)
    await redis.zadd(keys.dead_by_group(WEBHOOKS), dict.fromkeys(entries, 0))
    await _index(redis, WEBHOOKS, "failed:webhook", times)


def _ended(name: str, at_ms: int, end: Mapping[str, Any], error: Error | None = None) -> dict[str, Any]:
    attempt = Attempt(
        number=1,
        due_at_ms=at_ms - 40,
        started_at_ms=at_ms - 30,
        worker="worker-1:7:5c1d",
        ended_at_ms=at_ms,
        outcome="failed" if error else "succeeded",
        error=error,
    )
    job = {"t": 1, "f": name, "a": (), "k": ARGS[name], "et": at_ms - 50, "q": QUEUES[name]}
    return {**job, **end, "st": at_ms - 30, "ft": at_ms, "attempts": [attempt]}


async def _index(redis: ArqRedis, queue: str, name: str, times: Mapping[str, float]) -> None:
    await redis.zadd(keys.ended_index(queue, name), dict(times))
    await redis.execute_command("SADD", keys.ended(queue), name)


async def _put_waiting(redis: ArqRedis, number: int, *, due_ms: int) -> None:
    """Two webhooks, then a letter, and so on, one due in each ms."""
    for name, from_third in (("webhook", (0, 1)), ("welcome_email", (2,))):
        body = codec.dumps({"t": None, "f": name, "a": (), "k": ARGS[name], "et": due_ms - 5_000})
        times = {new_job_id(): due_ms - at for at in range(number) if at % 3 in from_third}
        if times:
            await redis.mset(dict.fromkeys(map(keys.body, times), body))
            await redis.zadd(QUEUES[name], times)


async def _count_minutes(redis: ArqRedis, now_ms: int) -> None:
    """A day in which each counter of each minute has something: the largest charts that there can be."""
    chance, hour = random.Random(7), now_ms // 3_600_000
    for queue in QUEUES.values():
        for before in range(26):
            counts = [chance.randrange(1, 900) for _ in range(len(COUNTERS) * MINUTES_IN_HOUR)]
            await redis.set(keys.hour_counts(queue, hour - before), struct.pack(f">{len(counts)}I", *counts))


if __name__ == "__main__":
    main({"fill": fill}, uvloop.run)
