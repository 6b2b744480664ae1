"""What the scripts tell of changes where somebody watches, and places in their order."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from errand.events.change import Change, changes_in, place_of, positions_in
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.codec import dumps
from errand.wire.records import Progress
from tests.waiting import eventually

QUEUE = keys.queue("default")


async def test_a_watched_queue_tells_type_and_attempt_and_keeps_what_it_tells(redis: ArqRedis) -> None:
    await redis.set(keys.watched(QUEUE), "0-0")
    queue = Queue(redis, ended_ttl_s=60)
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    async with redis.pubsub() as heard:
        await heard.subscribe(keys.events(QUEUE))
        put = await queue.enqueue("fax", {"to": "x" * 300})
        (claim,) = (await leases.claim(5)).claims
        record = dumps(Progress(fraction=0.5, note="halb, ½", at_ms=7))
        assert await leases.show_progress(claim, record, keep_ms=1000)
        await leases.finish([claim.handed_back()])
        await queue.cancel(put.job_id)
        told = [change for _ in range(5) for change in changes_in(await message(heard))]
    kinds = [(change.kind, change.attempt) for change in told]
    assert kinds == [("queued", 0), ("in_progress", 1), ("progress", 1), ("queued", 0), ("cancelled", 0)]
    assert {(change.job_id, change.type, change.queue) for change in told} == {(put.job_id, "fax", "default")}
    assert told[2].progress == Progress(fraction=0.5, note="halb, ½", at_ms=7)
    kept = [
        Change.read("default", at.decode(), fields[b"change"].decode())
        for at, fields in await redis.xrange(keys.history(QUEUE))
    ]
    assert [(change.at, change.kind) for change in kept if change] == [(change.at, change.kind) for change in told]
    assert sorted(change.at for change in told) == [change.at for change in told]


async def test_odd_ids_and_what_others_wrote_are_told_as_they_are(redis: ArqRedis) -> None:
    await redis.set(keys.watched(QUEUE), "0-0")
    odd = 'a b\n"c" ü'
    async with redis.pubsub() as heard:
        await heard.subscribe(keys.events(QUEUE))
        await Queue(redis, ended_ttl_s=60).enqueue("fax", {}, job_id=odd)
        (queued,) = changes_in(await message(heard))
        await redis.set(keys.body(odd), b"\x80\x04pickled")
        await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)
        (started,) = changes_in(await message(heard))
    assert (queued.job_id, queued.type) == (odd, "fax")
    assert (started.job_id, started.type, started.attempt) == (odd, None, 1)


async def test_an_unwatched_queue_tells_as_ever_and_keeps_nothing(redis: ArqRedis) -> None:
    async with redis.pubsub() as heard:
        await heard.subscribe(keys.events(QUEUE))
        put = await Queue(redis, ended_ttl_s=60).enqueue("fax", {})
        assert await message(heard) == f"queued {put.job_id}"
    assert await redis.exists(keys.history(QUEUE)) == 0


@pytest.mark.parametrize("positions", [{"default": (1, 0)}, {"default": (1795237200000, 3), "cpu-2": (5, 17)}])
def test_a_place_is_read_as_it_was_written(positions: dict[str, tuple[int, int]]) -> None:
    assert positions_in(place_of(positions)) == positions


@pytest.mark.parametrize("text", ["", "1-0", "x@default", "1-0@default,", "1-0@", "1-0@a b", "9" * 30 + "-0@default"])
def test_what_is_no_place_is_none(text: str) -> None:
    assert positions_in(text) is None


async def message(heard: PubSub) -> str:
    async def next_one() -> str | None:
        found = await heard.get_message(ignore_subscribe_messages=True)
        return found["data"].decode() if found else None

    return await eventually(next_one)
