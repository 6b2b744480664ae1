"""What the scripts publish and keep of changes while somebody watches."""

from __future__ import annotations

from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from errand.events.change import Change, changes_in
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.codec import dumps
from errand.wire.records import Progress
from tests.waiting import eventually

QUEUE = keys.queue("default")


async def test_a_watched_queue_publishes_type_and_attempt_and_keeps_each_change(redis: ArqRedis) -> None:
    await redis.set(keys.watched(QUEUE), "0-0")
    queue = Queue(redis, ended_ttl_s=60)
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    async with redis.pubsub() as subscription:
        await subscription.subscribe(keys.events(QUEUE))
        put = await queue.enqueue("fax", {"to": "x" * 300})
        (claim,) = (await leases.claim(5)).claims
        record = dumps(Progress(fraction=0.5, note="halb, ½", at_ms=7))
        assert await leases.show_progress(claim, record, keep_ms=1000)
        await leases.finish([claim.handed_back()])
        await queue.cancel(put.job_id)
        published = [change for _ in range(5) for change in changes_in(await message(subscription))]
    kinds = [(change.kind, change.attempt) for change in published]
    assert kinds == [("queued", 0), ("in_progress", 1), ("progress", 1), ("queued", 0), ("cancelled", 0)]
    assert {(change.job_id, change.type, change.queue) for change in published} == {(put.job_id, "fax", "default")}
    assert published[2].progress == Progress(fraction=0.5, note="halb, ½", at_ms=7)
    kept = [
        Change.read("default", at.decode(), fields[b"change"].decode())
        for at, fields in await redis.xrange(keys.history(QUEUE))
    ]
    assert [(change.at, change.kind) for change in kept if change] == [(change.at, change.kind) for change in published]
    assert sorted(change.at for change in published) == [change.at for change in published]


async def test_odd_ids_and_bodies_of_others_are_published_as_they_are(redis: ArqRedis) -> None:
    await redis.set(keys.watched(QUEUE), "0-0")
    odd = 'a b\n"c" ü'
    async with redis.pubsub() as subscription:
        await subscription.subscribe(keys.events(QUEUE))
        await Queue(redis, ended_ttl_s=60).enqueue("fax", {}, job_id=odd)
        (queued,) = changes_in(await message(subscription))
        await redis.set(keys.body(odd), b"\x80\x04pickled")
        await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)
        (started,) = changes_in(await message(subscription))
    assert (queued.job_id, queued.type) == (odd, "fax")
    assert (started.job_id, started.type, started.attempt) == (odd, None, 1)


async def test_an_unwatched_queue_publishes_ids_alone_and_keeps_nothing(redis: ArqRedis) -> None:
    async with redis.pubsub() as subscription:
        await subscription.subscribe(keys.events(QUEUE))
        put = await Queue(redis, ended_ttl_s=60).enqueue("fax", {})
        assert await message(subscription) == f"queued {put.job_id}"
    assert await redis.exists(keys.history(QUEUE)) == 0


async def message(subscription: PubSub) -> str:
    async def next_one() -> str | None:
        found = await subscription.get_message(ignore_subscribe_messages=True)
        return found["data"].decode() if found else None

    return await eventually(next_one)
