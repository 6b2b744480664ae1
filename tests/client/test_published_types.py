"""Jobs put by name: what workers publish of their types checks the args, and says where a job goes."""

from __future__ import annotations

import time

import pytest
from arq.connections import ArqRedis

from errand.client.client import Client
from errand.client.published_types import FORGET_S, publish, published
from errand.wire import codec, keys
from examples.orders import confirm, pack
from settings import Settings
from tests.waiting import eventually


async def published_of(redis: ArqRedis, name: str) -> bool:
    return bool(await redis.hexists(keys.JOB_TYPES, name))  # type: ignore[misc]


async def test_args_are_checked_by_the_schema_that_a_worker_has_published(
    redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    async with published(redis, [confirm, pack]), Client(settings, redis_url=redis_url) as client:
        await eventually(lambda: published_of(redis, "pack"))
        job = await client.enqueue("pack", {"id": 1, "items": ["saw"]}, delay="1h")
        jobs = await client.enqueue_many("pack", [{"id": 1, "items": ["saw"]}] * 2)
        assert (await job.status(), len(jobs)) == ("deferred", 2)
        with pytest.raises(ValueError, match="pack: id: its value is not of type") as raised:
            await client.enqueue("pack", {"id": "secret", "items": ["saw"]})
        assert "secret" not in str(raised.value)
        with pytest.raises(ValueError, match="required"):
            await client.enqueue_many("pack", [{"id": 1, "items": ["saw"]}, {"id": 1}])
        with pytest.raises(ValueError, match="'item' was unexpected"):
            await client.enqueue("pack", {"id": 1, "items": ["saw"], "item": 1})
        with pytest.raises(LookupError, match="'packs' within a week; did you mean 'pack'"):
            await client.enqueue("packs")
    assert await redis.zcard(keys.queue("default")) == 3


async def test_a_type_goes_to_its_own_queue_and_is_found_there_by_its_id(
    redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    await publish(redis, {"elsewhere": {"queue": "cpu", "args_schema": {"type": "object"}}})
    async with Client(settings, redis_url=redis_url) as client:
        job = await client.enqueue("elsewhere")
        assert await redis.zscore(keys.queue("cpu"), job.id)
        assert await client.job(job.id).cancel() == "cancelled"


async def test_what_no_worker_has_published_for_a_week_or_cannot_be_read_is_not_offered(
    redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    record = {"queue": "default", "args_schema": {}, "at_s": int(time.time()) - FORGET_S}
    now = {**record, "at_s": int(time.time())}
    odd = {"a": {"x": 1}, "b": {"at_s": "y"}, "c": {**now, "queue": None}, "d": {**now, "args_schema": {"type": 5}}}
    written = {"old": codec.dumps(record), "broken": b"{", b"\xff": codec.dumps(now)}
    await redis.hset(keys.JOB_TYPES, mapping=written)  # type: ignore[misc]
    await redis.hset(keys.JOB_TYPES, mapping={name: codec.dumps(one) for name, one in odd.items()})  # type: ignore[misc]
    await publish(redis, {"known": {"queue": "default", "args_schema": {"type": "object"}}})
    async with Client(settings, redis_url=redis_url) as client:
        await client.enqueue("known")
        for name in ("old", "broken", *odd):
            with pytest.raises(LookupError):
                await client.enqueue(name)
