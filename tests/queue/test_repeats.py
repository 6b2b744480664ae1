"""Equal jobs that are put one after another: `debounce` waits for the last, `throttle` keeps the first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Client, Context, job
from errand.job.job_type import JobType
from errand.leases.leases import Leases
from errand.wire import codec, keys
from settings import Settings

QUEUE = keys.queue("default")


class Save(BaseModel):
    document: int
    text: str = ""


def saving(**options: Any) -> JobType[Any, Any]:
    async def save(ctx: Context, args: Save) -> None: ...

    made: JobType[Any, Any] = job(**options)(save)
    return made


@pytest.fixture
async def client(settings: Settings, redis_url: str, redis: ArqRedis) -> AsyncIterator[Client]:
    async with Client(settings, redis_url=redis_url) as opened:
        yield opened


async def waiting(redis: ArqRedis) -> dict[str, Any]:
    """The args of the jobs that have not ended, by their ids."""
    return {
        job_id.decode(): codec.job_in(await redis.get(keys.body(job_id.decode())) or b"")[0].kwargs
        for job_id in await redis.zrange(QUEUE, 0, -1)
    }


async def test_a_debounced_job_runs_once_with_the_last_args_after_a_quiet_time(client: Client, redis: ArqRedis) -> None:
    save = saving(debounce="1h", debounce_key="{document}")
    first = await save.enqueue(document=1, text="a")
    due_ms = await redis.zscore(QUEUE, first.id)
    again = await save.enqueue(document=1, text="ab")
    other = await save.enqueue(document=2)
    assert ((again.id, again.existing), other.existing) == ((first.id, True), False)
    assert await waiting(redis) == {first.id: {"document": 1, "text": "ab"}, other.id: {"document": 2}}
    moved_ms = await redis.zscore(QUEUE, first.id)
    assert due_ms is not None
    assert moved_ms is not None
    assert (await redis.time())[0] * 1000 + 3_590_000 < due_ms <= moved_ms


async def test_a_debounced_job_that_waits_for_weeks_keeps_its_key(client: Client, redis: ArqRedis) -> None:
    """A reminder after thirty quiet days, that something has put off again and again."""
    save = saving(debounce="30d", debounce_key="{document}")
    first = await save.enqueue(document=1)
    (marker,) = await redis.keys(f"errand:{QUEUE}:unique:*")
    await redis.expire(marker, 86_400)  # five weeks later
    assert (await save.enqueue(document=1)).id == first.id
    assert await redis.ttl(marker) > 30 * 86_400


async def test_what_runs_is_not_changed_any_more(client: Client, redis: ArqRedis) -> None:
    save = saving(debounce="1h", debounce_key="{document}")
    first = await save.enqueue(document=1, text="a")
    await redis.zadd(QUEUE, {first.id: 1})
    await Leases(redis, queue=QUEUE, worker="a", lease_s=60).claim(1)
    second = await save.enqueue(document=1, text="ab")
    third = await save.enqueue(document=1, text="abc")
    assert (second.existing, third.id, third.existing) == (False, second.id, True)
    texts = {job_id: args["text"] for job_id, args in (await waiting(redis)).items()}
    assert texts == {first.id: "a", second.id: "abc"}


async def test_a_throttled_job_keeps_others_out_for_its_period(client: Client, redis: ArqRedis) -> None:
    save = saving()
    throttled = save.options(throttle="1h", throttle_key="{document}")
    first = await throttled.enqueue(document=1, text="a")
    again, other = await throttled.enqueue(document=1, text="b"), await throttled.enqueue(document=2)
    assert ((again.id, again.existing), other.existing) == ((first.id, True), False)
    assert (await waiting(redis))[first.id] == {"document": 1, "text": "a"}
    (marker,) = [key for key in await redis.keys("errand:*:unique:*") if first.id in (await redis.get(key)).decode()]
    assert 3_590_000 < await redis.pttl(marker) <= 3_600_000
    await redis.delete(marker)
    assert not (await throttled.enqueue(document=1, text="c")).existing


async def test_without_a_key_jobs_are_equal_if_all_their_args_are(client: Client, redis: ArqRedis) -> None:
    save = saving(throttle="1h")
    handles = [await save.enqueue(document=1, text=text) for text in ("a", "b", "a")]
    assert [each.existing for each in handles] == [False, False, True]
    with pytest.raises(ValueError, match="put them one by one"):
        await save.enqueue_many([{"document": 1}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"debounce": "1s", "throttle": "1s"}, "give one of them"),
        ({"debounce": 0}, "at least a millisecond"),
        ({"throttle_key": "{document}"}, "throttle_key says nothing without throttle"),
        ({"throttle": "1s", "unique_key": "a"}, "give one of them"),
        ({"debounce": "1s", "delay": "1s"}, "give no delay"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saving().options(**options)
