"""Claim, renew, finish: Redis decides which worker has a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.leases.leases import Claimed, Finish, Leases
from errand.queue.queue import Queue
from errand.wire import codec, keys
from tests.redis.test_sentinel import client_of
from tests.redis_servers import RedisServer
from tests.waiting import eventually

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


def leases_of(redis: ArqRedis, worker: str, *, lease_s: float = 10) -> Leases:
    return Leases(redis, queue=QUEUE, worker=worker, lease_s=lease_s)


def ending(job_id: str, token: str, result: bytes = b"{}") -> Finish:
    return Finish(job_id=job_id, token=token, status="succeeded", result=result, keep_result_ms=1000)


async def now_ms(redis: ArqRedis) -> int:
    seconds, micros = await redis.time()
    return int(seconds * 1000 + micros // 1000)


async def test_a_claim_takes_the_lease_counts_the_try_and_moves_the_job_out_of_the_way(
    redis: ArqRedis, queue: Queue
) -> None:
    put = await queue.enqueue("any", {"text": "abc"})
    (claim,) = (await leases_of(redis, "one").claim(10)).claims
    assert (claim.job_id, claim.due_at_ms, claim.job_try, claim.lost) == (put.job_id, put.due_at_ms, 1, False)
    assert claim.body is not None and b'"text":"abc"' in claim.body
    assert await redis.get(keys.lease(put.job_id)) == claim.token.encode()
    assert await redis.get(keys.tries(put.job_id)) == b"1"
    lease_end_ms = await redis.zscore(QUEUE, put.job_id)
    assert lease_end_ms is not None and 9_000 < lease_end_ms - await now_ms(redis) <= 10_000


async def test_no_job_is_claimed_twice_and_the_first_come_first(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue_many("any", [{}] * 25)
    one, two = leases_of(redis, "one"), leases_of(redis, "two")
    groups = [await one.claim(10), await two.claim(10), await one.claim(10)]
    assert [len(group.claims) for group in groups] == [10, 10, 5]
    assert [claim.job_id for group in groups for claim in group.claims] == [job.job_id for job in put]


async def test_a_claim_says_when_the_next_job_is_due(redis: ArqRedis, queue: Queue) -> None:
    leases = leases_of(redis, "one")
    assert (await leases.claim(10)).due_in_ms is None
    later = await queue.enqueue("any", {}, delay_ms=60_000)
    due_in_ms = (await leases.claim(10)).due_in_ms
    assert due_in_ms is not None and 0 <= later.due_at_ms - await now_ms(redis) - due_in_ms + 50 <= 100
    await queue.enqueue_many("any", [{}] * 2)
    assert (await leases.claim(1)).due_in_ms == 0, "the other one is due already"


async def test_a_claim_that_leaves_due_jobs_behind_wakes_the_next_worker(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue_many("any", [{}] * 3)
    leases = leases_of(redis, "one")
    await redis.delete(keys.wake(QUEUE))
    await leases.claim(2)
    assert await redis.exists(keys.wake(QUEUE)) == 1
    await redis.delete(keys.wake(QUEUE))
    await leases.claim(1)
    assert await redis.exists(keys.wake(QUEUE)) == 0


async def test_an_expired_lease_makes_the_job_due_again_by_itself(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    (first,) = (await leases_of(redis, "dies", lease_s=0.1).claim(1)).claims
    other = leases_of(redis, "other")
    (again,) = (await eventually(lambda: _claimed(other))).claims
    assert (again.job_id, again.job_try) == (put.job_id, 2)
    assert again.lost
    record = codec.loads(again.attempts[0])
    assert (record["number"], record["worker"], record["outcome"]) == (1, "dies", "lost")
    assert record["due_at_ms"] == put.due_at_ms <= record["started_at_ms"] < record["ended_at_ms"]
    assert await other.finish([ending(put.job_id, first.token)]) == [False], (
        "the outcome of the dead worker does not count"
    )


async def _claimed(leases: Leases) -> Claimed | None:
    claimed = await leases.claim(1)
    return claimed if claimed.claims else None


async def test_a_heartbeat_renews_what_is_held_and_names_what_is_lost(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue_many("any", [{}] * 3)
    leases = leases_of(redis, "one")
    kept, lapsed, taken = (await leases.claim(3)).claims
    await redis.pexpire(keys.lease(kept.job_id), 500)
    await redis.delete(keys.lease(lapsed.job_id))
    await redis.set(keys.lease(taken.job_id), "somebody else")
    held = {claim.job_id: claim.token for claim in (kept, lapsed, taken)}
    assert (await leases.renew(held, {})).lost == [taken.job_id]
    assert await redis.get(keys.lease(lapsed.job_id)) == lapsed.token.encode(), "nobody has claimed it meanwhile"
    assert await redis.pttl(keys.lease(kept.job_id)) > 500
    assert (await redis.zscore(QUEUE, kept.job_id) or 0) > await now_ms(redis) + 500
    assert await redis.get(keys.lease(taken.job_id)) == b"somebody else"


async def test_only_the_owner_finishes_a_job(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue_many("any", [{}] * 2)
    leases = leases_of(redis, "one")
    mine, stolen = (await leases.claim(2)).claims
    await redis.set(keys.lease(stolen.job_id), "somebody else")
    outcomes = [ending(mine.job_id, mine.token), ending(stolen.job_id, stolen.token, b"stale")]
    assert await leases.finish(outcomes) == [True, False]
    assert await redis.get(keys.result(mine.job_id)) == b"{}"
    assert await redis.get(keys.result(stolen.job_id)) is None
    assert await redis.exists(keys.body(stolen.job_id)) == 1
    assert [name.decode() for name in await redis.zrange(QUEUE, 0, -1)] == [stolen.job_id]


async def test_a_job_due_again_keeps_its_record_and_one_handed_back_its_try(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    leases = leases_of(redis, "one")
    (claim,) = (await leases.claim(1)).claims
    again = Finish(
        job_id=put.job_id, token=claim.token, status="queued", due_in_ms=0, attempt=b'{"n":1}', give_try_back=True
    )
    assert await leases.finish([again]) == [True]
    (second,) = (await leases.claim(1)).claims
    assert (second.job_try, second.attempts, second.lost) == (1, [b'{"n":1}'], False)
    again = Finish(job_id=put.job_id, token=second.token, status="deferred", due_in_ms=0, attempt=b'{"n":2}')
    await leases.finish([again])
    (third,) = (await leases.claim(1)).claims
    assert (third.job_try, third.attempts) == (2, [b'{"n":1}', b'{"n":2}'])


async def test_jobs_that_are_handed_back_unstarted_keep_their_places(redis: ArqRedis, queue: Queue) -> None:
    put = [job.job_id for job in await queue.enqueue_many("any", [{}] * 3)]
    await redis.zincrby(QUEUE, -2_000, put[0])
    await redis.zincrby(QUEUE, -1_000, put[1])
    leases = leases_of(redis, "one")
    one, two = (await leases.claim(2)).claims
    assert await leases.finish([two.handed_back(), one.handed_back()]) == [True, True]
    assert [name.decode() for name in await redis.zrange(QUEUE, 0, -1)] == put
    assert await redis.exists(keys.wake(QUEUE)) == 1, "another worker may be asleep"
    assert [claim.job_try for claim in (await leases.claim(2)).claims] == [1, 1]


async def test_the_note_why_a_job_was_put_back_expires_after_the_job_is_due(redis: ArqRedis, queue: Queue) -> None:
    """The body of a stock producer may expire while the job waits, and nobody then ends it."""
    put = await queue.enqueue("any", {})
    leases = leases_of(redis, "one")
    (claim,) = (await leases.claim(1)).claims
    note = Finish(job_id=put.job_id, token=claim.token, status="deferred", due_in_ms=60_000, put_back=b"{}")
    assert await leases.finish([note]) == [True]
    assert 60_000 < await redis.pttl(keys.put_back(put.job_id)) <= 60_000 + 3_600_000


async def test_a_job_that_a_stock_worker_runs_is_left_alone(redis: ArqRedis, queue: Queue) -> None:
    """Its score is not touched: a stock retry adds to the score it has read."""
    stock = await queue.enqueue("any", {})
    ours = await queue.enqueue("any", {})
    await redis.psetex(keys.lease(stock.job_id), 60_000, b"1")
    claims = (await leases_of(redis, "one").claim(10)).claims
    assert [claim.job_id for claim in claims] == [ours.job_id]
    assert await redis.zscore(QUEUE, stock.job_id) == stock.due_at_ms


async def test_once_a_stock_worker_has_started_the_job_its_late_owner_cannot_finish_it(
    redis: ArqRedis, queue: Queue
) -> None:
    put = await queue.enqueue("any", {})
    late = leases_of(redis, "late")
    (claim,) = (await late.claim(1)).claims
    await redis.delete(keys.lease(put.job_id))
    await redis.incr(keys.tries(put.job_id))  # a stock worker has started it, and wants it tried again
    assert (await late.renew({put.job_id: claim.token}, {})).lost == [put.job_id]
    assert await late.finish([ending(put.job_id, claim.token)]) == [False]
    assert await redis.exists(keys.body(put.job_id)) == 1


async def test_a_stock_producers_job_does_not_expire_once_it_was_started(redis: ArqRedis) -> None:
    await redis.enqueue_job("any", _job_id="a", _expires=60)
    assert await redis.pttl(keys.body("a")) > 0
    worker = leases_of(redis, "dies")
    (claim,) = (await eventually(lambda: _claimed(worker))).claims  # arq rounds: it may be due in the next millisecond
    assert claim.body is not None
    assert await redis.pttl(keys.body("a")) == -1, "its worker may die, and the next attempt begin after that time"


async def test_an_outcome_sent_twice_counts_once_even_if_the_lease_outlives_it(redis: ArqRedis, queue: Queue) -> None:
    """The answer may be lost, and the outcome sent again."""
    put = await queue.enqueue("any", {})
    leases = leases_of(redis, "one")
    (claim,) = (await leases.claim(1)).claims
    again = Finish(
        job_id=put.job_id, token=claim.token, status="queued", due_in_ms=0, attempt=b"{}", keep_lease_ms=60_000
    )
    assert await leases.finish([again]) == [True]
    assert await leases.finish([again]) == [False]
    assert await redis.llen(keys.attempts(put.job_id)) == 1  # type: ignore[misc]  # redis-py types both its clients
    assert (await leases.renew({put.job_id: claim.token}, {})).lost == [put.job_id]


@pytest.mark.parametrize("due_in_ms", [None, 0])
async def test_an_outcome_that_a_call_has_twice_counts_once(
    redis: ArqRedis, queue: Queue, due_in_ms: int | None
) -> None:
    put = await queue.enqueue("any", {})
    leases = leases_of(redis, "one")
    (claim,) = (await leases.claim(1)).claims
    outcome = replace(ending(put.job_id, claim.token), due_in_ms=due_in_ms)
    assert await leases.finish([outcome, outcome]) == [True, False]
    assert await redis.zcard(QUEUE) == (0 if due_in_ms is None else 1)
    assert await redis.hlen(keys.running(QUEUE)) == 0  # type: ignore[misc]


async def test_what_has_ended_is_not_left_in_the_queue_by_a_bad_key_that_the_next_outcome_meets(
    redis: ArqRedis, queue: Queue
) -> None:
    first, second = [await queue.enqueue("any", {}) for _ in range(2)]
    leases = leases_of(redis, "one")
    tokens = {claim.job_id: claim.token for claim in (await leases.claim(2)).claims}
    await redis.set(keys.dead(QUEUE), "of another program")
    dead = replace(ending(second.job_id, tokens[second.job_id]), status="failed", dead="entry")
    await leases.finish([ending(first.job_id, tokens[first.job_id]), dead])
    assert await redis.exists(keys.result(first.job_id), keys.result(second.job_id)) == 2
    assert (await redis.zcard(QUEUE), await redis.hlen(keys.running(QUEUE))) == (0, 0)  # type: ignore[misc]


async def test_a_running_job_made_due_by_a_stock_abort_is_parked_again(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    leases = leases_of(redis, "one")
    await leases.claim(1)
    await redis.zadd(QUEUE, {put.job_id: 1})
    assert (await leases.claim(1)).claims == []
    assert (await redis.zscore(QUEUE, put.job_id) or 0) > await now_ms(redis) + 500


async def test_what_others_run_is_due_again_when_their_leases_end_however_long_the_look_takes(tmp_path: Path) -> None:
    many = 2_000
    with RedisServer(tmp_path).running() as server:  # Redis 7.0 counts on in a script, later ones and Valkey do not
        async with client_of(server.url) as redis:
            await Queue(redis, ended_ttl_s=60).enqueue_many("any", [{}] * many)
            ids = [claim.job_id for claim in (await leases_of(redis, "one").claim(many)).claims]
            await redis.zadd(QUEUE, dict.fromkeys(ids, 1))
            assert (await leases_of(redis, "two").claim(many)).claims == []
            async with redis.pipeline() as pipeline:
                for job_id in ids:
                    pipeline.pexpiretime(keys.lease(job_id))
                ends_ms = await pipeline.execute()
            early = [due for due, end in zip(await redis.zmscore(QUEUE, ids), ends_ms, strict=True) if due < end]
            assert len(early) == 0


async def test_only_the_owner_shows_progress(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    old, new = leases_of(redis, "old"), leases_of(redis, "new")
    (stale,) = (await old.claim(1)).claims
    await redis.delete(keys.lease(put.job_id))
    await redis.zadd(QUEUE, {put.job_id: 0})
    (held,) = (await new.claim(1)).claims
    assert not await old.show_progress(stale, b"old", keep_ms=1000)
    assert await new.show_progress(held, b"new", keep_ms=1000)
    assert await redis.get(keys.progress(put.job_id)) == b"new"
    await new.finish([ending(put.job_id, held.token)])
    assert not await new.show_progress(held, b"late", keep_ms=1000)
    assert not await redis.exists(keys.progress(put.job_id))


async def test_nothing_is_claimed_from_a_paused_queue(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {})
    await queue.pause()
    leases = leases_of(redis, "one")
    assert (await leases.claim(1)).claims == []
    await queue.resume()
    assert len((await leases.claim(1)).claims) == 1


async def test_counters_add_up_with_the_heartbeats(redis: ArqRedis) -> None:
    leases = leases_of(redis, "one")
    await leases.renew({}, {"attempts:succeeded": 3, "wait_ms:1": 3})
    await leases.renew({}, {"attempts:succeeded": 2})
    counted = await redis.hgetall(keys.counters(QUEUE))  # type: ignore[misc]  # redis-py types both its clients
    assert counted == {b"attempts:succeeded": b"5", b"wait_ms:1": b"3"}


async def set_forward(redis: ArqRedis, job_id: str, *, by_ms: int = 3_600_000) -> None:
    """Does to a queue what a step of the server's clock does: all that is kept as a time of day is that much older."""
    async with redis.pipeline(transaction=True) as transaction:
        transaction.delete(keys.lease(job_id))
        transaction.zincrby(QUEUE, -by_ms, job_id)
        for worker, _ in await redis.zrange(keys.workers(QUEUE), 0, -1, withscores=True):
            transaction.zincrby(keys.workers(QUEUE), -by_ms, worker)
        await transaction.execute()


async def test_a_step_of_the_servers_clock_gives_a_job_no_second_owner(redis: ArqRedis) -> None:
    owner, other = (Leases(redis, queue=QUEUE, worker=name, lease_s=60) for name in ("owner", "other"))
    put = await Queue(redis, ended_ttl_s=60).enqueue("any", {})
    (claim,) = (await owner.claim(1)).claims
    for worker in (owner, other):
        await worker.renew({}, {})
    await set_forward(redis, put.job_id)
    fresh = await Queue(redis, ended_ttl_s=60).enqueue("any", {})
    assert [found.job_id for found in (await other.claim(10)).claims] == [fresh.job_id], "what nobody runs is claimed"
    await other.renew({}, {})
    await redis.zadd(QUEUE, {put.job_id: 1})
    assert (await other.claim(10)).claims == [], "its own report hides the step no more"
    assert (await owner.renew({put.job_id: claim.token}, {})).lost == []
    assert await owner.finish([claim.handed_back()]) == [True]


async def test_a_worker_that_was_silent_for_long_is_no_step_of_the_servers_clock(redis: ArqRedis) -> None:
    """Both clocks say for how long."""
    worker = leases_of(redis, "silent")
    await worker.renew({}, {})
    assert worker._reported_s is not None
    worker._reported_s -= 3600
    await redis.zincrby(keys.workers(QUEUE), -3_600_000, "silent")
    await worker.claim(1)
    assert not await redis.exists(keys.clock_set(QUEUE))


async def test_after_a_step_of_the_servers_clock_the_job_of_a_dead_owner_is_claimed_a_lease_later(
    redis: ArqRedis,
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("any", {})
    await Leases(redis, queue=QUEUE, worker="dead", lease_s=60).claim(1)
    other = Leases(redis, queue=QUEUE, worker="other", lease_s=60)
    await other.renew({}, {})
    await set_forward(redis, put.job_id)
    assert (await other.claim(1)).claims == []
    assert 0 < await redis.pttl(keys.clock_set(QUEUE)) <= 60_000
    await other.renew({}, {})
    await redis.delete(keys.clock_set(QUEUE))  # a lease later
    await redis.zadd(QUEUE, {put.job_id: 1})
    assert [(found.job_id, found.lost) for found in (await other.claim(1)).claims] == [(put.job_id, True)]


async def test_a_first_report_proves_no_step_of_the_servers_clock(redis: ArqRedis) -> None:
    """A watchdog makes one in the name of its worker, which was silent since some time that it does not know."""
    await leases_of(redis, "one").renew({}, {})
    await redis.zincrby(keys.workers(QUEUE), -3_600_000, "one")
    await leases_of(redis, "one").renew({}, {})
    assert not await redis.exists(keys.clock_set(QUEUE))


async def test_a_job_that_uses_no_feature_pays_for_none(redis: ArqRedis, queue: Queue) -> None:
    """What limits, priorities, cancels and followers need is asked for in one call, and looked at only if it is there.

    Before, these three calls took 39 commands, their own included.
    """
    leases = leases_of(redis, "one")
    await leases.finish([])  # the server knows the scripts from here on
    await leases.claim(10)
    await queue.enqueue("any", {}, delay_ms=60_000)
    await redis.config_resetstat()
    await queue.enqueue("any", {})
    (claim,) = (await leases.claim(10)).claims
    await leases.finish([ending(claim.job_id, claim.token)])
    stats = await redis.info("commandstats")
    assert sum(command["calls"] for command in stats.values()) <= 33
