"""Lists and counts over three partitions: what one Redis would say of all the jobs, they say together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError

from errand.http.routes.job_list import cursor_at, start_at
from errand.monitor import timeline
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.queues import is_served, read_queues, read_workers
from errand.monitor.several_jobs import find_jobs
from errand.monitor.timeline import JobFilter, Matches, PageStart, Timeline
from errand.redis.cluster.each import values_anywhere
from errand.redis.cluster.tag import Tag
from errand.wire import keys
from tests.monitor.test_timeline import CPU, EVERY, HOUR_MS, KEEP_MS, QUEUE, House
from tests.ports import free_port
from tests.redis.test_sentinel import client_of
from tests.redis_cluster import Cluster

SEEDS = range(2)
FILTERS = [
    EVERY,
    JobFilter(type="a"),
    JobFilter(statuses=frozenset({"failed", "queued"})),
    JobFilter(queue="cpu", statuses=frozenset({"deferred"})),
]


class Houses:
    """One house in each partition, and the timeline of all."""

    def __init__(self, clients: Sequence[ArqRedis], seed: int) -> None:
        self.random = random.Random(seed)
        self.parts = [House(redis) for redis in clients]
        self.timeline = Timeline(*clients, queues=[QUEUE, CPU])

    async def fill(self) -> None:
        """Jobs of all kinds, many of them of one moment, unevenly spread; the results of some have gone."""
        at_ms = await self.parts[0].now_ms() + HOUR_MS
        for _ in range(8):
            house = self.random.choice(self.parts[: self.random.randint(1, 3)])
            await self._fill(house, at_ms + self.random.randint(0, 2))

    async def _fill(self, house: House, at_ms: int) -> None:
        ids = [await house.put(self.random.choice("ab")) for _ in range(self.random.randint(1, 12))]
        await house.end(await house.claim(), self.random.choice(("succeeded", "failed", "cancelled")))
        gone = [keys.result(job_id) for job_id in ids if self.random.random() < 0.1]
        if gone:
            await house.redis.delete(*gone)
        for _ in range(self.random.randint(0, 6)):
            await house.put(self.random.choice("ab"), queue=self.random.choice(("default", "cpu")), run_at_ms=at_ms)
        if self.random.random() < 0.3:
            await house.put("b")

    async def walk(self, filter: JobFilter, matches: Matches | None) -> list[JobSnapshot]:
        """All pages, of any sizes, each from the cursor of the one before; jobs end meanwhile."""
        jobs: list[JobSnapshot] = []
        start: PageStart | None = None
        while True:
            page = await self.timeline.page(filter, limit=self.random.randint(1, 9), start=start, matches=matches)
            jobs += page.jobs
            if page.next is None:
                return jobs
            start = start_at(cursor_at(page.next, filter), filter, field="cursor")
            if self.random.random() < 0.2:
                await self.random.choice(self.parts).ended("new")


@pytest.mark.parametrize("seed", SEEDS)
async def test_pages_neither_lose_nor_repeat_a_job_that_does_not_change(
    clients: Sequence[ArqRedis], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    houses = Houses(clients, seed)
    await houses.fill()
    monkeypatch.setattr(timeline, "MAX_LOOKED_AT", 7)
    monkeypatch.setattr(timeline, "SEARCHED_AT_ONCE", 3)
    for filter in FILTERS:
        for matches in (None, lambda job: job.id[-1] in "02468ace"):
            apart = [job for house in houses.parts for job in await house.jobs(filter, limit=1_000)]
            walked = [job.id for job in await houses.walk(filter, matches) if job.type != "new"]
            expected = [job.id for job in apart if job.type != "new" and (matches is None or matches(job))]
            assert sorted(walked) == sorted(expected), "each once"
            for house in houses.parts:
                own = [job.id for job in await house.jobs(filter, limit=1_000)]
                assert [job_id for job_id in walked if job_id in own] == [job_id for job_id in own if job_id in walked]


async def test_a_page_asks_each_partition_for_no_more_than_one_alone_would(
    clients: Sequence[ArqRedis], cluster: Cluster
) -> None:
    houses = [House(redis) for redis in clients]
    for house in houses:
        await house.queue.enqueue_many("any", [{}] * 300)
        await house.end(await house.claim(300))
    lists = Timeline(*clients, queues=[QUEUE, CPU])
    first = await lists.page(EVERY, limit=50)
    await lists.page(EVERY, limit=50, start=first.next)
    for partition, _ in enumerate(clients):
        server = cluster.owner(Tag("errand", partition).slot).client
        server.config_resetstat()
        await lists.page(EVERY, limit=50, start=first.next)
        calls: dict[str, Any] = server.info("commandstats")  # type: ignore[assignment]  # redis-py: async or not
        assert calls["cmdstat_evalsha"]["calls"] == 2 and calls.get("cmdstat_mget", {"calls": 0})["calls"] <= 1


async def test_counts_are_sums_and_the_oldest_is_the_oldest_of_all(clients: Sequence[ArqRedis]) -> None:
    houses = [House(redis) for redis in clients]
    for number, house in enumerate(houses):
        await house.ended("any", "failed")
        for _ in range(number + 1):
            await house.put()
            await house.put(delay_ms=HOUR_MS)
    await clients[1].zadd(QUEUE, {"old": await houses[1].now_ms() - KEEP_MS})
    await clients[2].set(keys.paused(QUEUE), 1)
    minute = await houses[0].now_ms() // 60_000
    for redis in clients:
        await redis.hset(keys.counters(QUEUE), mapping={"attempts:succeeded": 2, "stale": 0})  # type: ignore[misc]
        await redis.hset(keys.minutes(QUEUE), f"{minute} succeeded", "3")  # type: ignore[misc]
    queue, cpu = await read_queues(clients, ["default", "cpu"], silent_s=10)
    assert (queue.due, queue.deferred, queue.dead, queue.paused, cpu.due) == (7, 6, 3, True, 0)
    assert queue.oldest_due_ms is not None and queue.oldest_due_ms >= KEEP_MS
    assert queue.counters == {"attempts:succeeded": 6, "stale": 0} and list(queue.last_minutes.values()) == [
        {"succeeded": 9}
    ]


async def test_a_process_is_one_worker_however_many_partitions_it_serves(
    clients: Sequence[ArqRedis], tmp_path: Path
) -> None:
    now_ms = await House(clients[0]).now_ms()
    assert not await is_served(clients, queues=[QUEUE], silent_s=10)
    for number, redis in enumerate(clients):
        for host in ("one", "two")[: 1 + (number < 2)]:
            await redis.zadd(keys.workers(QUEUE), {f"{host}:7:{number}": now_ms + number})
            await redis.hset(keys.reports(QUEUE), f"{host}:7:{number}", '{"slots": 10}')  # type: ignore[misc]
        await redis.hset(keys.running(QUEUE), f"job {number}", f"1 5 {now_ms} one:7:{number}#1")  # type: ignore[misc]
    one, two = await read_workers(clients, ["default"], silent_s=10)
    assert (one.slots, one.queues, sorted(one.running)) == (30, ["default"], ["job 0", "job 1", "job 2"])
    assert (two.host, two.slots, one.last_heartbeat_ms) == ("two", 20, now_ms + 2)
    (queue,) = await read_queues(clients, ["default"], silent_s=10)
    assert (queue.workers, queue.slots) == (2, 50) and await is_served(clients, queues=[QUEUE], silent_s=10)


async def test_a_partition_that_is_away_does_not_make_the_others_unready(clients: Sequence[ArqRedis]) -> None:
    await clients[2].zadd(keys.workers(QUEUE), {"one:7:a": await House(clients[2]).now_ms()})
    async with client_of(f"redis://127.0.0.1:{free_port()}") as away:
        assert await is_served([away, *clients], queues=[QUEUE], silent_s=10)
        assert not await is_served([away, clients[0]], queues=[QUEUE], silent_s=10)
        with pytest.raises(ConnectionError):
            await is_served([away, away], queues=[QUEUE], silent_s=10)


async def test_values_and_jobs_are_found_in_whichever_partition_they_are(clients: Sequence[ArqRedis]) -> None:
    ids = [await House(redis).put() for redis in clients]
    found = await find_jobs(clients, [(QUEUE, job_id) for job_id in (*ids, "none")])
    assert [job and job.id for job in found] == [*ids, None]
    bodies = await values_anywhere(clients, [keys.body(job_id) for job_id in (*ids, "none")])
    assert [body is not None for body in bodies] == [True, True, True, False]
