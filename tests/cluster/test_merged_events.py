"""Changes of jobs in three partitions: one stream has them all, and goes on where a client was in each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from arq.connections import ArqRedis

from errand.events.cursor import positions_in
from errand.events.feed import JobFeed
from errand.events.listener import JobEvents
from errand.events.watcher import EventFilter, Watcher
from errand.queue.queue import Queue
from errand.redis.cluster import partitions
from errand.redis.cluster.tag import Tag
from errand.redis.outage import REPLY_TIMEOUT_S
from errand.wire import keys
from tests.cluster.conftest import PARTITIONS
from tests.monitor.test_timeline import QUEUE
from tests.redis_cluster import Cluster
from tests.waiting import eventually


@pytest.fixture
async def events(cluster: Cluster) -> AsyncIterator[JobEvents]:
    async with partitions.opened(cluster.url, number=PARTITIONS, reply_timeout_s=REPLY_TIMEOUT_S) as subscribers:
        async with JobEvents(*subscribers.clients, queues=[QUEUE]).listening() as listening:
            yield listening


@pytest.fixture
async def feed(clients: Sequence[ArqRedis], events: JobEvents) -> AsyncIterator[JobFeed]:
    feed = JobFeed(*clients, events=events, queues=[QUEUE], max_watchers=5)
    yield feed
    for watcher in list(feed._watchers):
        await feed.dismiss(watcher)


async def followed(feed: JobFeed, cursor: str | None = None) -> tuple[Watcher, list[tuple[str, str]]]:
    """A watcher that is live, and what it had missed: each job and the cursor after it."""
    watcher = await feed.admit(EventFilter())
    positions = positions_in(cursor) if cursor else None
    assert positions is None or await feed.covers(positions)
    following = feed.follow(watcher, positions)
    missed = [(change.job_id, cursor) async for slice_ in following for change, cursor in slice_]
    return watcher, missed


async def taken(watcher: Watcher, number: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(60):
        while len(found) < number:
            assert watcher.ended is None
            found += [(change.job_id, change.cursor) for batch in await watcher.take() for change in batch.changes]
    return found


async def put(redis: ArqRedis, job_id: str) -> str:
    return (await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id=job_id)).job_id


async def test_a_stream_goes_on_after_any_event_without_a_gap(clients: Sequence[ArqRedis], feed: JobFeed) -> None:
    watcher, missed = await followed(feed)
    ids = [await put(clients[number % PARTITIONS], f"job {number}") for number in range(12)]
    seen = await taken(watcher, 12)
    assert sorted(job_id for job_id, _ in seen) == sorted(ids) and not missed
    assert set(positions_in(seen[0][1]) or ()) == {"default", "default.1", "default.2"}
    for at, (_, cursor) in enumerate(seen):
        _, rest = await followed(feed, cursor)
        assert sorted(job_id for job_id, _ in rest) == sorted(job_id for job_id, _ in seen[at + 1 :])
        await feed.dismiss(next(other for other in feed._watchers if other is not watcher))


async def test_another_process_goes_on_with_the_cursor_of_one_that_knew_fewer_partitions(
    clients: Sequence[ArqRedis], feed: JobFeed
) -> None:
    first, _ = await followed(feed)
    await put(clients[0], "a")
    ((_, cursor),) = await taken(first, 1)
    await put(clients[0], "b")
    await put(clients[2], "c")
    of_one = next(part for part in cursor.split(",") if part.endswith("@default"))
    _, missed = await followed(feed, of_one)
    assert [job_id for job_id, _ in missed] == ["b"], "in the others it begins now"


async def test_the_end_of_a_job_is_heard_in_whichever_partition_it_is(
    clients: Sequence[ArqRedis], events: JobEvents
) -> None:
    for number, redis in enumerate(clients):
        job_id = await put(redis, f"job {number}")
        async with events.end_of(job_id) as ended:
            ended.clear()
            await Queue(redis, ended_ttl_s=60).cancel(job_id)
            await asyncio.wait_for(ended.wait(), 60)


async def test_a_partition_that_is_away_does_not_hold_up_the_events_of_others(
    clients: Sequence[ArqRedis], cluster: Cluster, feed: JobFeed
) -> None:
    watcher, _ = await followed(feed)
    away = cluster.owner(Tag("errand", 1).slot)
    cluster.freeze(away)
    try:
        await put(clients[2], "job of another")
        assert [job_id for job_id, _ in await taken(watcher, 1)] == ["job of another"]
        feed._followers.on_unmarked(0)
        feed._followers.on_unmarked(1)
        await clients[0].delete(keys.watched(QUEUE))

        async def is_watched_again() -> bool:
            return bool(await clients[0].exists(keys.watched(QUEUE)))

        await eventually(is_watched_again)
    finally:
        cluster.thaw(away)
