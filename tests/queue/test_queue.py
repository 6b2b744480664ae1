"""The producer's side: grouped calls, many at once, several queues together, wake-ups, pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.exceptions import OutOfMemoryError, ResponseError

from errand.leases.leases import Finish, Leases
from errand.monitor.job_snapshot import read_job
from errand.queue.new_job import Enqueued, JobExists, NewJob, QueueFull
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.redis.connection import connect
from errand.redis.outage import is_outage
from errand.wire import keys
from tests.heard import so_far
from tests.waiting import eventually


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def script_calls(redis: ArqRedis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_concurrent_calls_share_script_calls(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {})
    before = await script_calls(redis)
    put = await asyncio.gather(*(queue.enqueue("any", {"number": number}) for number in range(500)))
    assert await script_calls(redis) - before <= 2, "the first goes alone, the others that wait meanwhile together"
    assert len({one.job_id for one in put}) == 500 and await redis.zcard(queue.key) == 501
    job = await read_job(redis, put[123].job_id)
    assert job is not None and job.args == {"number": 123}


async def test_each_caller_of_a_shared_call_has_its_own_answer(queue: Queue) -> None:
    ids = ["a", "b", "a", "c", "b"]
    answers = await asyncio.gather(*(queue.enqueue("any", {}, job_id=job_id) for job_id in ids), return_exceptions=True)
    assert [isinstance(answer, JobExists) for answer in answers] == [False, False, True, False, True]


async def test_a_caller_that_gives_up_harms_no_other(redis: ArqRedis, queue: Queue) -> None:
    calls = [asyncio.create_task(queue.enqueue("any", {})) for _ in range(20)]
    await asyncio.sleep(0)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True] + [False] * 19
    assert await redis.zcard(queue.key) == 20


async def test_an_error_reaches_every_caller_and_the_queue_goes_on(redis: ArqRedis, queue: Queue) -> None:
    await redis.config_set("maxmemory", 1)
    answers = await asyncio.gather(*(queue.enqueue("any", {}) for _ in range(5)), return_exceptions=True)
    await redis.config_set("maxmemory", 0)
    assert all(isinstance(answer, OutOfMemoryError) for answer in answers)
    await queue.enqueue("any", {})


async def test_many_go_in_one_call_in_their_order(redis: ArqRedis, queue: Queue) -> None:
    before = await script_calls(redis)
    put = await queue.enqueue_many("any", [{"number": number} for number in range(10_000)])
    assert await script_calls(redis) - before == 1
    assert [name.decode() for name in await redis.zrange(queue.key, 0, -1)] == [one.job_id for one in put]
    with pytest.raises(ValueError, match="over the limit of 10000"):
        await queue.enqueue_many("any", [{}] * 10_001)
    assert await queue.enqueue_many("any", []) == []


async def calls_in_scripts(redis: ArqRedis, *names: str) -> list[int]:
    stats = await redis.info("commandstats")
    return [int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in names]


async def test_many_new_ones_take_redis_one_command_each(redis: ArqRedis, queue: Queue) -> None:
    names = "exists", "zadd", "set"
    before = await calls_in_scripts(redis, *names)
    put = await queue.enqueue_many("any", [{"number": number} for number in range(2_500)])
    exists, zadd, sets = (now - then for now, then in zip(await calls_in_scripts(redis, *names), before, strict=True))
    assert (exists <= 4, zadd, sets) == (True, 3, 2_500)
    assert await redis.zrange(queue.key, 0, -1) == [one.job_id.encode() for one in put]
    for number in (0, 999, 1_000, 2_499):
        job = await read_job(redis, put[number].job_id)
        assert job is not None and (job.args, job.run_at_ms) == ({"number": number}, put[number].due_at_ms)


@pytest.mark.parametrize("unlike", ["known", "ended", "deferred", "twice"])
async def test_one_that_is_not_new_is_judged_by_itself_and_so_are_those_beside_it(
    redis: ArqRedis, queue: Queue, unlike: str
) -> None:
    if unlike == "known":
        await queue.enqueue("before", {}, job_id="b")
    elif unlike == "ended":
        await redis.set(keys.result("b"), b"{}")
    other = "a" if unlike == "twice" else "b"
    delay_ms = 60_000 if unlike == "deferred" else 0
    ids = ["a", other, "c"]
    jobs = [(queue, NewJob(type_name="any", args={}, job_id=job_id, delay_ms=delay_ms)) for job_id in ids]
    put = await enqueue_together(jobs)
    if unlike != "twice":
        assert [one is not None for one in put] == [True, unlike == "deferred", True]
    assert all(one is None or one.deferred == (unlike == "deferred") for one in put)
    waiting = {name.decode() for name in await redis.zrange(queue.key, 0, -1)}
    assert waiting == ({"a", "c"} if unlike in ("ended", "twice") else {"a", "b", "c"})


async def test_one_token_waits_for_a_worker_however_many_jobs_came(redis: ArqRedis, queue: Queue) -> None:
    for _ in range(3):
        await queue.enqueue("any", {})
    assert await redis.lrange(keys.wake(queue.key), 0, -1) == [b"1"]  # type: ignore[misc]  # both clients, one type


async def test_a_deferred_job_wakes_a_worker_only_where_it_is_due_first(redis: ArqRedis, queue: Queue) -> None:
    async def token_after(delay_ms: int) -> int:
        await redis.delete(keys.wake(queue.key))
        await queue.enqueue("any", {}, delay_ms=delay_ms)
        return int(await redis.exists(keys.wake(queue.key)))

    assert [await token_after(delay_ms) for delay_ms in (50_000, 60_000, 40_000)] == [1, 0, 1]


async def test_a_job_has_nothing_of_one_with_its_id_that_expired(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, job_id="a")
    await Leases(redis, queue=queue.key, worker="dies", lease_s=10).claim(1)
    await redis.rpush(keys.attempts("a"), b"{}")  # type: ignore[misc]  # redis-py types both its clients
    await redis.hset(keys.once("a"), "effect", "begun")  # type: ignore[misc]
    await redis.set(keys.put_back("a"), b"{}")
    await redis.delete(keys.body("a"), keys.lease("a"))
    await queue.enqueue("any", {}, job_id="a")
    assert await redis.hlen(keys.running(queue.key)) == 0  # type: ignore[misc]
    (claim,) = (await Leases(redis, queue=queue.key, worker="one", lease_s=10).claim(1)).claims
    assert (claim.job_try, claim.attempts, claim.lost) == (1, [], False)
    assert await redis.exists(keys.once("a"), keys.put_back("a")) == 0


async def test_jobs_that_are_put_together_have_nothing_of_one_with_an_id_of_theirs(
    redis: ArqRedis, queue: Queue
) -> None:
    await queue.enqueue("any", {}, job_id="b")
    await redis.delete(keys.body("b"))
    await redis.set(keys.tries("b"), 3)
    jobs = [(queue, NewJob(type_name="any", args={}, job_id=job_id)) for job_id in "abc"]
    assert None not in await enqueue_together(jobs)
    assert not await redis.exists(keys.tries("b")) and await redis.zcard(queue.key) == 3


async def test_the_servers_clock_decides_what_is_due(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {}, delay_ms=1000)
    seconds, micros = await redis.time()
    assert 0 <= seconds * 1000 + micros // 1000 + 1000 - put.due_at_ms < 500
    assert put.deferred and await redis.zscore(queue.key, put.job_id) == put.due_at_ms
    past = await queue.enqueue("any", {}, run_at_ms=5)
    assert not past.deferred and past.due_at_ms > 5, "the past is now: it does not jump the queue"


async def test_changes_are_told_on_the_queues_channel(redis: ArqRedis, queue: Queue) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(queue.key))
        await heard.get_message(timeout=60)
        now, later = await queue.enqueue("any", {}), await queue.enqueue("any", {}, delay_ms=1000)
        await queue.cancel(later.job_id)
        told = [(await heard.get_message(timeout=60) or {})["data"].decode() for _ in range(3)]
    assert told == [f"queued {now.job_id}", f"deferred {later.job_id}", f"cancelled {later.job_id}"]


@pytest.fixture
def both(redis: ArqRedis) -> tuple[Queue, Queue]:
    """Two queues of one Redis."""
    return Queue(redis, ended_ttl_s=60), Queue(redis, name="cpu", ended_ttl_s=60)


def new_job(job_id: str, **values: Any) -> NewJob:
    return NewJob(type_name=values.pop("type_name", "any"), args={"secret": "s3cret"}, job_id=job_id, **values)


async def calls_of(redis: ArqRedis, command: str) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_jobs_of_several_queues_go_in_one_transaction(redis: ArqRedis, both: tuple[Queue, Queue]) -> None:
    before = await calls_of(redis, "exec")
    jobs = [(both[number % 2], new_job(f"{number}", type_name=f"type {number}")) for number in range(6)]
    put = await enqueue_together(jobs)
    assert [one and one.job_id for one in put] == ["0", "1", "2", "3", "4", "5"]
    assert await calls_of(redis, "exec") - before == 1
    assert [await redis.zrange(queue.key, 0, -1) for queue in both] == [[b"0", b"2", b"4"], [b"1", b"3", b"5"]]
    assert await redis.exists(*(keys.wake(queue.key) for queue in both)) == 2
    job = await read_job(redis, "3", queues=[queue.key for queue in both])
    assert job is not None and (job.type, job.queue) == ("type 3", "cpu")


async def test_jobs_of_one_queue_go_in_one_script_call(redis: ArqRedis, both: tuple[Queue, Queue]) -> None:
    await both[0].enqueue("any", {})
    before = await script_calls(redis)
    put = await enqueue_together([(both[0], new_job("a")), (both[0], new_job("b", delay_ms=60_000))])
    assert await script_calls(redis) - before == 1
    assert [one and one.deferred for one in put] == [False, True]
    assert await enqueue_together([]) == []


@pytest.mark.parametrize("places", [(0,), (0, 0), (0, 1)])
async def test_a_job_that_exists_is_left_as_it_is(
    redis: ArqRedis, both: tuple[Queue, Queue], places: tuple[int, ...]
) -> None:
    await both[0].enqueue("first", {}, job_id="0")
    put = await enqueue_together([(both[place], new_job(f"{number}")) for number, place in enumerate(places)])
    assert [one and one.job_id for one in put] == [None, "1"][: len(places)]
    job = await read_job(redis, "0")
    assert job is not None and job.type == "first"


@pytest.mark.parametrize("places", [(0, 0), (0, 1)])
async def test_a_redis_that_is_full_takes_all_or_none_and_tells_nothing_of_their_args(
    redis: ArqRedis, both: tuple[Queue, Queue], places: tuple[int, ...]
) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError) as refused:
            await enqueue_together([(both[place], new_job(f"{number}")) for number, place in enumerate(places)])
    finally:
        await redis.config_set("maxmemory", 0)
    assert "s3cret" not in str(refused.value) and "maxmemory" in str(refused.value)
    assert await redis.dbsize() == 0


async def test_a_redis_that_is_busy_with_a_script_is_an_outage_to_a_transaction_too(
    redis: ArqRedis, redis_url: str, both: tuple[Queue, Queue]
) -> None:
    await redis.config_set("busy-reply-threshold", 1)
    other = connect(redis_url, reply_timeout_s=30)
    endless = asyncio.ensure_future(other.register_script("while true do end")())

    async def refusal() -> Exception | None:
        try:
            await enqueue_together([(queue, new_job(queue.name)) for queue in both])
        except ResponseError as error:
            return error
        return None

    try:
        refused = await eventually(refusal)
        assert is_outage(refused) and str(refused).startswith("BUSY") and "s3cret" not in str(refused)
    finally:
        await redis.script_kill()
        await asyncio.gather(endless, return_exceptions=True)
        await redis.config_set("busy-reply-threshold", 5000)
        await other.aclose()


async def test_a_full_queue_takes_no_more_until_a_job_has_ended(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60, limit=3)
    put = [await queue.enqueue("any", {}, delay_ms=delay_ms) for delay_ms in (0, 1000, 0)]
    keys_before = set(await redis.keys("*"))
    await redis.delete(keys.wake(queue.key))
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(queue.key))
        await heard.get_message(timeout=60)
        with pytest.raises(QueueFull, match="'default'"):
            await queue.enqueue("any", {})
        assert await so_far(redis, keys.events(queue.key), heard) == [], "nobody is told of what was not put"
    assert set(await redis.keys("*")) == keys_before - {keys.wake(queue.key).encode()}, "nothing half-written"
    await queue.cancel(put[1].job_id)
    await queue.enqueue("any", {})
    await Queue(redis, ended_ttl_s=60).enqueue("any", {})
    assert await redis.zcard(queue.key) == 4, "without a limit there is always room"


async def test_jobs_that_share_a_call_are_judged_one_by_one_in_their_order(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60, limit=5)
    await queue.enqueue("any", {}, job_id="first")
    before = await script_calls(redis)
    ids = ["a", "b", "first", "c", "d", "e", "a", "f"]
    calls = [asyncio.create_task(queue.enqueue("any", {}, job_id=job_id)) for job_id in ids]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert await script_calls(redis) - before <= 2
    kinds = [Enqueued, Enqueued, JobExists, Enqueued, Enqueued, QueueFull, JobExists, QueueFull]
    assert [type(answer) for answer in answers] == kinds
    assert await redis.zcard(queue.key) == 5


async def test_many_that_do_not_all_fit_are_not_put_at_all(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60, limit=10)
    await queue.enqueue("any", {})
    with pytest.raises(QueueFull):
        await queue.enqueue_many("any", [{}] * 10)
    assert await redis.zcard(queue.key) == 1 and len(await redis.keys("arq:job:*")) == 1
    assert len(await queue.enqueue_many("any", [{}] * 9)) == 9


async def test_what_runs_still_counts(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60, limit=1)
    await queue.enqueue("any", {})
    leases = Leases(redis, queue=queue.key, worker="w", lease_s=10)
    assert len((await leases.claim(10)).claims) == 1
    with pytest.raises(QueueFull):
        await queue.enqueue("any", {})


async def test_a_job_that_waits_for_its_next_try_is_made_due_and_a_worker_woken(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    leases = Leases(redis, queue=queue.key, worker="one", lease_s=10)
    (claim,) = (await leases.claim(1)).claims
    assert await queue.retry(put.job_id) == "in_progress"
    again = Finish(job_id=put.job_id, token=claim.token, status="deferred", due_in_ms=60_000, attempt=b"{}")
    await leases.finish([again])
    await redis.delete(keys.wake(queue.key))
    assert await queue.retry(put.job_id) == "retried"
    assert await redis.exists(keys.wake(queue.key)) == 1
    assert await queue.retry(put.job_id) == "queued"
    (second,) = (await leases.claim(1)).claims
    assert (second.job_id, second.job_try, second.attempts) == (put.job_id, 2, [b"{}"])


async def test_a_retry_says_what_any_other_job_is(redis: ArqRedis, queue: Queue) -> None:
    later = await queue.enqueue("any", {}, delay_ms=60_000)
    due = await redis.zscore(queue.key, later.job_id)
    assert await queue.retry(later.job_id) == "deferred"
    assert await redis.zscore(queue.key, later.job_id) == due
    await queue.cancel(later.job_id)
    assert await queue.retry(later.job_id) == "ended"
    assert await queue.retry("never-was") == "unknown"


async def test_an_ended_job_is_forgotten_with_all_that_is_known_of_it(redis: ArqRedis, queue: Queue) -> None:
    live, over = await queue.enqueue("any", {}), await queue.enqueue("any", {})
    await queue.cancel(over.job_id)
    await redis.set(keys.once(over.job_id), "done")
    assert [await queue.forget(job_id) for job_id in (live.job_id, over.job_id, over.job_id)] == [False, True, False]
    assert await redis.exists(keys.result(over.job_id), keys.once(over.job_id)) == 0
    assert await redis.exists(keys.body(live.job_id)) == 1
