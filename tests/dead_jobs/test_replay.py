"""Dead and cancelled jobs are put again: each once, under its id, with all of its tries, at the pace asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job
from redis.exceptions import ConnectionError

from errand.dead_jobs import replay
from errand.dead_jobs.dead_jobs import DeadJobFilter, DeadJobs
from errand.dead_jobs.replay import ReplayCutShort, Replayed, Replays
from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.wire import codec, keys
from jobs.webhook import webhook
from settings import Settings
from tests.conftest import RunWorker
from tests.dying import CUPS, QUEUE, Fault, brittle, die, entries_of, fragile, porous
from tests.peers import HttpReceiver
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import ended

CPU = keys.queue("cpu")
FRAGILE = DeadJobFilter(type="fragile")


@pytest.fixture
def dead(redis: ArqRedis) -> DeadJobs:
    return DeadJobs(redis, queues=[QUEUE, CPU], ttl_s=3600)


@pytest.fixture
def replays(redis: ArqRedis, dead: DeadJobs) -> Replays:
    return Replays(dead)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def seen(redis: ArqRedis, job_id: str) -> JobSnapshot:
    snapshot = await read_job(redis, job_id)
    assert snapshot is not None
    return snapshot


async def test_a_dead_job_is_put_again_as_it_was_with_all_of_its_tries(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    (job_id,) = await die(redis, run_worker, [{"how": "drop", "number": 3}])
    died = await seen(redis, job_id)
    await redis.set(keys.once(job_id), "done", ex=60)
    await redis.set(keys.tries(job_id), 4)
    await redis.delete(keys.wake(QUEUE))
    async with redis.pubsub() as heard:
        await heard.subscribe(keys.events(QUEUE))
        assert await replays.one(job_id, queue=QUEUE) == "replayed"
        assert await next_message(heard) == f"queued {job_id}"
    again = await seen(redis, job_id)
    assert (again.status, again.attempt, again.attempts, again.error) == ("queued", 0, (), None)
    assert (again.type, again.args, again.enqueued_at_ms) == (died.type, died.args, died.enqueued_at_ms)
    assert {key.decode() for key in await redis.keys(f"*{job_id}*")} == {keys.body(job_id), keys.once(job_id)}
    assert await redis.exists(keys.wake(QUEUE)) == 1 and await entries_of(redis) == []
    assert await redis.ttl(keys.body(job_id)) == await redis.ttl(keys.once(job_id)) == -1


async def next_message(heard: Any) -> str:
    async def look() -> str | None:
        message = await heard.get_message(ignore_subscribe_messages=True)
        return None if message is None else str(message["data"].decode())

    return await eventually(look)


async def test_an_effect_that_was_done_is_not_repeated_by_a_replay(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue
) -> None:
    sent: list[str] = []

    @job(max_tries=1)
    async def send(ctx: Context, args: Fault) -> str:
        effect = await ctx.once("sending")
        if not effect.done:
            await effect.start()
            sent.append(ctx.job_id)
            await effect.finish("by post")
            raise Fail("and then the roof fell in")
        return str(effect.value)

    put = await queue.enqueue("send", {})
    async with run_worker([send], dead_ttl_s=1000):
        assert (await ended(redis, put.job_id)).status == "failed"
        assert 0 < await redis.ttl(keys.once(put.job_id)) <= 1000
        assert await replays.one(put.job_id, queue=QUEUE) == "replayed"
        again = await ended(redis, put.job_id)
    assert (again.status, again.result, sent) == ("succeeded", "by post", [put.job_id])


@pytest.mark.parametrize("is_running", [True, False])
async def test_nor_by_that_of_a_job_that_was_cancelled(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue, is_running: bool
) -> None:
    sent, posted = [], asyncio.Event()

    @job()
    async def send(ctx: Context, args: Fault) -> None:
        effect = await ctx.once("sending")
        if not effect.done:
            await effect.start()
            sent.append(ctx.job_id)
            await effect.finish()
            posted.set()
            if is_running:
                await asyncio.Event().wait()
            raise Retry("later", after_s=3600)

    put = await queue.enqueue("send", {})
    async with run_worker([send]):
        await asyncio.wait_for(posted.wait(), NEVER_S)
        if not is_running:
            await eventually(lambda: has_attempts(redis, put.job_id))
        assert await queue.cancel(put.job_id) == ("cancelling" if is_running else "cancelled")
        assert (await ended(redis, put.job_id)).status == "cancelled"
        assert 0 < await redis.ttl(keys.once(put.job_id)) <= await redis.ttl(keys.result(put.job_id))
        assert await replays.one(put.job_id, queue=QUEUE) == "replayed"
        assert (await ended(redis, put.job_id)).status == "succeeded"
    assert sent == [put.job_id]


async def has_attempts(redis: ArqRedis, job_id: str) -> bool:
    return bool(await redis.exists(keys.attempts(job_id)))


async def test_a_replayed_job_dies_or_succeeds_like_any_other(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, dead: DeadJobs
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    (first,) = await entries_of(redis)
    await replays.one(job_id, queue=QUEUE)
    assert await entries_of(redis) == []
    async with run_worker([fragile]):
        died = await ended(redis, job_id)
    (second,) = await entries_of(redis)
    assert (died.status, died.attempt) == ("failed", 1)
    assert second.group == first.group and second.ended_at_ms > first.ended_at_ms


async def test_only_dead_and_cancelled_jobs_are_replayed(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue
) -> None:
    cancelled = await queue.enqueue("fragile", {"how": "hold"}, delay_ms=60_000)
    await queue.cancel(cancelled.job_id)
    whole = await queue.enqueue("fragile", {"how": "hold"})
    async with run_worker([fragile]):
        await ended(redis, whole.job_id)
        assert await replays.one(whole.job_id, queue=QUEUE) == "succeeded"
        assert await replays.one(cancelled.job_id, queue=QUEUE) == "replayed"
        assert (await ended(redis, cancelled.job_id)).status == "succeeded"
    assert await replays.one("never-was", queue=QUEUE) == "gone"
    waiting = await queue.enqueue("fragile", {}, delay_ms=60_000)
    assert await replays.one(waiting.job_id, queue=QUEUE) == "gone"


async def test_one_of_several_replays_that_race_wins(redis: ArqRedis, run_worker: RunWorker, replays: Replays) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    answers = await asyncio.gather(*(replays.one(job_id, queue=QUEUE) for _ in range(20)))
    assert sorted(answers) == ["gone"] * 19 + ["replayed"]
    assert await redis.zcard(QUEUE) == 1


async def test_bulk_replays_that_race_put_each_job_once(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    died = await die(redis, run_worker, [{}] * 500)
    done = await asyncio.gather(*(replays.many(FRAGILE, limit=500) for _ in range(4)))
    assert sum(one.count for one in done) == 500
    assert [one.remaining for one in done] == [0] * 4
    assert {name.decode() for name in await redis.zrange(QUEUE, 0, -1)} == set(died)


async def test_a_job_that_changed_since_it_was_read_is_not_put_again(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    """Another call has replayed it, and it has succeeded, between our look at its result and our script."""
    (job_id,) = await die(redis, run_worker, [{}])
    (stale,) = await replays.parts[0]._results([job_id])
    assert stale is not None
    result = codec.loads(await redis.get(keys.result(job_id)))
    await redis.set(keys.result(job_id), codec.dumps({**result, "s": True, "r": "whole"}))
    assert await replays.parts[0]._put(QUEUE, [stale], [None]) == [None]
    assert await redis.exists(keys.body(job_id)) == 0 and await redis.zcard(QUEUE) == 0


@pytest.mark.parametrize("key", [keys.body, keys.lease])
async def test_a_job_of_that_id_that_has_not_ended_is_left_alone(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, key: Callable[[str], str]
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    await redis.set(key(job_id), "another's")
    assert await replays.one(job_id, queue=QUEUE) == "gone"
    assert await redis.get(key(job_id)) == b"another's"
    assert await redis.exists(keys.result(job_id)) == 1


async def test_a_job_whose_type_is_unknown_waits_for_a_worker_that_knows_it(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    (job_id,) = await die(redis, run_worker, [{"number": 7}], brittle)

    async def parked() -> bool:
        return await redis.zscore(keys.parked(QUEUE, "brittle"), job_id) is not None

    async with run_worker([fragile]):
        assert await replays.one(job_id, queue=QUEUE) == "replayed"
        await eventually(parked)
    async with run_worker([brittle]):
        died = await ended(redis, job_id)
    assert (died.args, len(died.attempts)) == ({"number": 7}, 1)


async def test_a_job_whose_body_was_lost_cannot_be_put_again_and_stays(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue
) -> None:
    put = await queue.enqueue("fragile", {})
    await redis.delete(keys.body(put.job_id))
    async with run_worker([fragile]):
        await ended(redis, put.job_id)
    assert await replays.one(put.job_id, queue=QUEUE) == "bodiless"
    done = await replays.many(DeadJobFilter(type=codec.UNKNOWN), limit=10)
    assert (done.count, done.skipped, done.remaining) == (0, 1, 1)
    assert len(await entries_of(redis)) == 1


async def test_an_abort_of_the_earlier_life_does_not_reach_the_next(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    with pytest.raises(Exception, match="cup"):
        await Job(job_id, redis, _deserializer=redis.job_deserializer).abort(timeout=60)
    await replays.one(job_id, queue=QUEUE)
    async with run_worker([fragile], allow_abort_jobs=True):
        assert (await ended(redis, job_id)).status == "failed"


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        (DeadJobFilter(type="fragile"), 5),
        (DeadJobFilter(fingerprint=CUPS), 6),
        (DeadJobFilter(type="fragile", fingerprint=CUPS), 3),
        (DeadJobFilter(fingerprint=CUPS, queue="cpu"), 2),
        (DeadJobFilter(type="absent"), 0),
    ],
)
async def test_a_bulk_replay_takes_what_its_filter_has_and_no_more(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, dead: DeadJobs, filter: DeadJobFilter, count: int
) -> None:
    await die(redis, run_worker, [{}] * 3)
    await die(redis, run_worker, [{"how": "miss"}] * 2)
    await die(redis, run_worker, [{}], brittle)
    await die(redis, run_worker, [{}] * 2, porous)
    preview = await replays.preview(filter, limit=100)
    assert (preview.count, preview.remaining, len(preview.ids)) == (count, 0, count)
    assert await redis.zcard(QUEUE) == await redis.zcard(CPU) == 0, "a preview puts nothing"
    done = await replays.many(filter, limit=100)
    assert (done.count, done.skipped, done.remaining) == (count, 0, 0)
    assert sorted(done.ids) == sorted(preview.ids)
    assert await redis.zcard(QUEUE) + await redis.zcard(CPU) == count
    assert (await dead.groups(DeadJobFilter())).jobs == 8 - count


async def test_a_limit_leaves_the_newest_and_says_how_many(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    died = [(await die(redis, run_worker, [{"number": number}]))[0] for number in range(7)]
    preview = await replays.preview(FRAGILE, limit=3)
    assert preview == Replayed(count=3, ids=died[:3], remaining=4)
    done = await replays.many(FRAGILE, limit=3)
    assert (done.count, done.ids, done.remaining) == (3, died[:3], 4)
    done = await replays.many(FRAGILE, limit=100)
    assert (done.count, done.ids, done.remaining) == (4, died[3:], 0)
    with pytest.raises(ValueError, match="10000"):
        await replays.many(FRAGILE, limit=10_001)


async def test_a_limit_is_over_all_groups(redis: ArqRedis, run_worker: RunWorker, replays: Replays) -> None:
    await die(redis, run_worker, [{"how": how} for how in ("drop", "drop", "miss", "miss")])
    done = await replays.many(FRAGILE, limit=3)
    assert (done.count, done.remaining) == (3, 1)


async def test_the_pace_spreads_the_due_times_over_groups_and_queues(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    await die(redis, run_worker, [{}] * 60)
    await die(redis, run_worker, [{}] * 60, porous)
    before_ms = await now_ms(redis)
    done = await replays.many(DeadJobFilter(fingerprint=CUPS), limit=1_000, per_second=20)
    due = sorted(
        [int(at_ms) for queue in (QUEUE, CPU) for _, at_ms in await redis.zrange(queue, 0, -1, withscores=True)]
    )
    assert done.count == len(due) == 120
    # the first few may be late by the time that the calls took
    paced = due[20:]
    assert {later - earlier for earlier, later in pairwise(paced)} == {50}
    assert before_ms + 119 * 50 <= paced[-1] <= await now_ms(redis) + 119 * 50
    assert done.last_due_at_ms == paced[-1]


async def now_ms(redis: ArqRedis) -> int:
    seconds, micros = await redis.time()
    return int(seconds * 1000 + micros // 1000)


async def test_paced_jobs_run_when_their_time_comes(redis: ArqRedis, run_worker: RunWorker, replays: Replays) -> None:
    died = await die(redis, run_worker, [{}] * 6)
    async with run_worker([fragile]):
        await replays.many(FRAGILE, limit=10, per_second=10)
        ends = [await ended(redis, job_id) for job_id in died]
    made = [job.attempts[-1] for job in ends]
    assert all(attempt.started_at_ms >= attempt.due_at_ms for attempt in made)
    due = sorted(attempt.due_at_ms for attempt in made)
    assert len(set(due)) > 1


async def test_an_expired_job_is_skipped_and_forgotten(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    died = await die(redis, run_worker, [{}] * 5)
    await redis.delete(*map(keys.result, died[1:3]))
    done = await replays.many(FRAGILE, limit=10)
    assert (done.count, done.skipped, done.remaining) == (3, 2, 0)
    assert await entries_of(redis) == []


async def test_a_job_that_ran_again_since_it_was_entered_is_not_put_again(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, queue: Queue
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    await redis.delete(keys.result(job_id))
    await queue.enqueue("fragile", {"how": "hold"}, job_id=job_id)
    async with run_worker([fragile]):
        await ended(redis, job_id)
    done = await replays.many(FRAGILE, limit=10)
    assert (done.count, done.skipped, done.remaining) == (0, 1, 0)
    assert (await seen(redis, job_id)).status == "succeeded"


async def test_a_job_that_dies_again_at_once_is_not_replayed_again_by_the_same_call(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays
) -> None:
    await die(redis, run_worker, [{}] * 200)
    async with run_worker([fragile]):
        done = await replays.many(FRAGILE, limit=10_000)
        assert done.count == 200

        async def all_died_again() -> bool:
            return bool(await redis.zcard(keys.dead(QUEUE)) == 200)

        await eventually(all_died_again)


async def test_thousands_are_replayed_by_small_calls(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_S", 3600.0)
    died = await die(redis, run_worker, [{}] * 2_000)
    await redis.config_resetstat()
    done = await replays.many(FRAGILE, limit=10_000)
    assert (done.count, done.skipped, done.remaining, len(done.ids)) == (2_000, 0, 0, 10)
    stats = await redis.info("commandstats")
    # fifty jobs in a call, so that none holds Redis up; and the groups of two queues, before and after
    assert stats["cmdstat_evalsha"]["calls"] == 40 + 4
    assert {name.decode() for name in await redis.zrange(QUEUE, 0, -1)} == set(died)


async def test_a_long_replay_stops_after_its_time_and_leaves_the_rest(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    await die(redis, run_worker, [{}] * 200)
    monkeypatch.setattr(replay, "MAX_S", 0.0)
    done = await replays.many(FRAGILE, limit=1_000)
    assert done.count > 0 and done.remaining == 200 - done.count > 0


async def test_an_outage_in_the_middle_says_how_many_were_put(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    await die(redis, run_worker, [{}] * 200)
    replays = Replays(dead)
    put: Callable[..., Awaitable[Any]] = replays.parts[0]._replay
    calls = 0

    async def away_at_the_third(**arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ConnectionError("cut")
        return await put(**arguments)

    replays.parts[0]._replay = away_at_the_third  # type: ignore[assignment]  # a cut at a known moment
    with pytest.raises(ReplayCutShort) as cut:
        await replays.many(FRAGILE, limit=1_000)
    assert cut.value.count == await redis.zcard(QUEUE) == 100
    assert len(await entries_of(redis)) == 100


async def test_a_receiver_knows_a_replayed_webhook_by_its_id(
    redis: ArqRedis, run_worker: RunWorker, replays: Replays, receiver: HttpReceiver, settings: Settings, queue: Queue
) -> None:
    receiver.answers = [410]
    put = await queue.enqueue("webhook", {"url": receiver.url, "event": "user.created", "data": 1})
    async with run_worker([replace(webhook, queue="default")]):
        assert (await ended(redis, put.job_id)).status == "failed"
        (entry,) = await entries_of(redis)
        assert entry.fingerprint == "Fail@errand.webhooks.delivery:_check_taken"
        done = await replays.many(DeadJobFilter(fingerprint=entry.fingerprint), limit=1)
        assert done.ids == [put.job_id]
        await receiver.wait_for(2)
        assert (await ended(redis, put.job_id)).status == "succeeded"
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == put.job_id
    assert first.body == second.body
