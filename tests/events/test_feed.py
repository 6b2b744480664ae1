"""The feed: one reader for any number of watchers; each receives what its filter has once, or is ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from arq.connections import ArqRedis

from errand.events import feed as feed_module
from errand.events import ring
from errand.events.change import Change, changes_in
from errand.events.cursor import positions_in
from errand.events.fan_out import FanOut
from errand.events.feed import JobFeed, TooManyWatchers
from errand.events.listener import JobEvents
from errand.events.watcher import EventFilter, Watcher
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.wire import keys
from tests.waiting import eventually

QUEUE = keys.queue("default")


@pytest.fixture
async def feed(redis: ArqRedis, redis_url: str) -> AsyncIterator[JobFeed]:
    subscriber = connect(redis_url, reply_timeout_s=5)
    async with JobEvents(subscriber, queues=[QUEUE]).listening() as events:
        feed = JobFeed(redis, events=events, queues=[QUEUE], max_watchers=3)
        yield feed
        for watcher in list(feed._watchers):
            await feed.dismiss(watcher)
    await subscriber.aclose()


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def live(feed: JobFeed, **filters: frozenset[str]) -> Watcher:
    watcher = await feed.admit(EventFilter(**filters))  # type: ignore[arg-type]  # the sets alone
    async for _ in feed.follow(watcher):
        raise AssertionError("nothing was missed")
    return watcher


async def taken(watcher: Watcher, number: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < number:
            found += [change.job_id for batch in await watcher.take() for change in batch.changes]
    return found


@pytest.mark.parametrize("tries", ["inf", "nan", "-1", "9" * 400], ids=len)
async def test_a_number_of_tries_that_is_none_keeps_no_job_from_its_queue(
    feed: JobFeed, queue: Queue, redis: ArqRedis, tries: str
) -> None:
    """Else the script would fail once the job is in the queue, and the answer be that another one has its id."""
    watcher = await live(feed)
    await redis.set(keys.tries("a"), tries)
    await queue.enqueue("note", {}, job_id="a")
    assert await taken(watcher, 1) == ["a"]


async def test_watchers_with_the_same_filter_share_a_batch(feed: JobFeed, queue: Queue) -> None:
    first, second = await live(feed), await live(feed)
    other = await live(feed, types=frozenset({"letter"}))
    put = await queue.enqueue("fax", {})
    (one,), (two,) = await first.take(), await second.take()
    assert one is two and [change.job_id for change in one.changes] == [put.job_id]
    letter = await queue.enqueue("letter", {})
    assert await taken(other, 1) == [letter.job_id]


async def test_there_are_no_more_watchers_than_there_may_be(feed: JobFeed) -> None:
    watchers = [await live(feed) for _ in range(3)]
    with pytest.raises(TooManyWatchers):
        await feed.admit(EventFilter())
    await feed.dismiss(watchers[0])
    await live(feed)


async def test_a_watcher_that_takes_nothing_is_ended_and_keeps_little(
    feed: JobFeed, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.events.watcher.MAX_BUFFERED", 20)
    lazy, busy = await live(feed), await live(feed)
    for _ in range(12):
        put = await queue.enqueue_many("fax", [{}] * 5)
        assert await taken(busy, 5) == [one.job_id for one in put]
    assert (lazy.ended, busy.ended) == ("slow", None)
    assert sum(len(batch.changes) for batch in lazy._batches) <= 25


async def test_what_was_published_while_the_connection_was_cut_comes_in_its_order(
    feed: JobFeed, queue: Queue, redis: ArqRedis
) -> None:
    watcher = await live(feed)
    ids: list[str] = []
    for turn in range(30):
        if turn % 10 == 5:
            await redis.client_kill_filter(_type="pubsub")
        ids.append((await queue.enqueue("fax", {})).job_id)
        await asyncio.sleep(0.005)
    assert await taken(watcher, 30) == ids


async def test_who_comes_from_the_future_and_is_cut_off_leaves_the_others_what_comes(
    feed: JobFeed, queue: Queue, redis: ArqRedis
) -> None:
    """A `Last-Event-ID` past the end has the history read; if Redis is slow just then, the request ends at its
    deadline."""
    watcher = await live(feed)
    reading = asyncio.Event()

    async def slow() -> None:
        reading.set()
        await asyncio.Event().wait()

    follower = feed._followers._by_source["default"]
    whole, follower._read_to_end = follower._read_to_end, slow  # type: ignore[method-assign,assignment]
    from_the_future = asyncio.create_task(feed.covers({"default": (10**15, 0)}))
    await reading.wait()
    follower._read_to_end = whole  # type: ignore[method-assign]
    from_the_future.cancel()
    await asyncio.gather(from_the_future, return_exceptions=True)
    put = await queue.enqueue("fax", {})
    assert await taken(watcher, 1) == [put.job_id]


async def test_a_lost_history_ends_watchers_instead_of_leaving_a_gap(
    feed: JobFeed, queue: Queue, redis: ArqRedis
) -> None:
    watcher = await live(feed)
    cursor = positions_in(feed.cursor)

    async def later() -> bool:
        seconds, micros = await redis.time()
        return cursor is not None and seconds * 1000 + micros // 1000 > cursor["default"][0]

    await eventually(later)
    await redis.delete(keys.history(QUEUE), keys.watched(QUEUE))
    await queue.enqueue("fax", {})

    async def ended() -> bool:
        return watcher.ended == "missed"

    await eventually(ended)
    assert cursor is not None and not await feed.covers(cursor)


async def test_what_the_ring_has_no_more_is_read_from_the_history_once(
    feed: JobFeed, queue: Queue, redis: ArqRedis
) -> None:
    watcher = await live(feed)
    cursor = positions_in(feed.cursor)
    assert cursor is not None
    ids = [one.job_id for one in await queue.enqueue_many("fax", [{}] * 1500)]
    assert await taken(watcher, 1500) == ids
    await feed.dismiss(watcher)
    keeper = await live(feed)
    before = (await redis.info("commandstats")).get("cmdstat_xrange", {"calls": 0})["calls"]
    for _ in range(2):
        back = await feed.admit(EventFilter())
        assert await feed.covers(cursor)
        missed = [change.job_id async for changes in feed.follow(back, cursor) for change, _ in changes]
        assert missed == ids
        await feed.dismiss(back)
    calls = (await redis.info("commandstats"))["cmdstat_xrange"]["calls"] - before
    # two pages and their end, and the look at the beginning of the history
    assert calls <= 4
    assert keeper.ended is None


async def test_a_ring_that_is_full_forgets_its_oldest(
    feed: JobFeed, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "MAX_RING", 10)
    watcher = await live(feed)
    cursor = positions_in(feed.cursor)
    assert cursor is not None
    await queue.enqueue_many("fax", [{}] * 25)
    await taken(watcher, 25)
    assert len(feed._ring) == 10
    # it is in the history, but no process keeps more than it may
    assert not await feed.covers(cursor)


async def test_a_watcher_that_comes_back_while_changes_are_handed_out_receives_each_once(
    feed: JobFeed, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await live(feed)
    cursor, before = positions_in(feed.cursor), feed.cursor
    hand_out, may_hand_out = FanOut._hand_out, asyncio.Event()

    async def held_back(fan_out: FanOut, changes: Sequence[Change]) -> None:
        await may_hand_out.wait()
        await hand_out(fan_out, changes)

    monkeypatch.setattr(FanOut, "_hand_out", held_back)
    put = await queue.enqueue("fax", {})

    async def received() -> bool:
        return feed.cursor != before

    await eventually(received)
    back = await feed.admit(EventFilter())
    missed = [change.job_id async for changes in feed.follow(back, cursor) for change, _ in changes]
    may_hand_out.set()
    second = await queue.enqueue("fax", {})
    assert missed == [put.job_id]
    assert await taken(back, 1) == [second.job_id]
    assert await taken(keeper, 2) == [put.job_id, second.job_id]


async def test_a_change_that_was_read_already_is_not_handed_out_again_when_its_message_comes(
    feed: JobFeed, queue: Queue, redis: ArqRedis
) -> None:
    watcher = await live(feed)
    async with redis.pubsub() as listening:
        await listening.subscribe(keys.events(QUEUE))
        first = await queue.enqueue("fax", {})

        async def published() -> str | None:
            found = await listening.get_message(ignore_subscribe_messages=True)
            return found["data"].decode() if found else None

        message = await eventually(published)
    assert await taken(watcher, 1) == [first.job_id]
    feed._followers.on_changes(list(changes_in(message)))
    second = await queue.enqueue("fax", {})
    assert await taken(watcher, 1) == [second.job_id]


async def test_watchers_that_come_back_at_once_take_turns(
    feed: JobFeed, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "SLICE", 10)
    keeper = await live(feed)
    cursor = positions_in(feed.cursor)
    ids = [one.job_id for one in await queue.enqueue_many("fax", [{}] * 50)]
    await taken(keeper, 50)
    turn, slices = 0, Counter[int]()

    async def catch_up(watcher: Watcher) -> list[str]:
        missed: list[str] = []
        async for changes in feed.follow(watcher, cursor):
            slices[turn] += 1
            missed += [change.job_id for change, _ in changes]
        return missed

    back = asyncio.gather(*[catch_up(await feed.admit(EventFilter())) for _ in range(2)])
    while not back.done():
        await asyncio.sleep(0)
        turn += 1
    assert await back == [ids, ids]
    assert (sum(slices.values()), max(slices.values())) == (10, 1)
