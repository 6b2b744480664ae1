"""Limits over all workers: how many jobs run at once, how many start within a time, and the lines of the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from pydantic import AliasChoices, BaseModel, Field

from errand import Concurrency, Rate
from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.job.limits.wire import limits_for_claims
from errand.leases.leases import Claim, Finish, Leases
from errand.monitor.job_snapshot import read_job
from errand.monitor.waiting import why_waiting
from errand.queue.queue import Queue
from errand.wire import keys
from tests.conftest import RunWorker
from tests.leases.machine import RedisMachine
from tests.leases.test_needs import gets
from tests.redis_cluster import apart
from tests.worker.test_worker import ended

QUEUE = keys.queue("default")


class Call(BaseModel):
    tenant: str | int = Field(default="free", validation_alias=AliasChoices("tenant", "customer"))


def call_type(**options: Any) -> JobType[Any, Any]:
    async def call(ctx: Context, args: Call) -> None: ...

    made: JobType[Any, Any] = job(**options)(call)
    return made


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


def worker_of(redis: ArqRedis, job_type: JobType[Any, Any], name: str = "a") -> Leases:
    return Leases(redis, queue=QUEUE, worker=name, lease_s=60, limits=limits_for_claims([job_type]))


async def put(queue: Queue, *names: str, **args: Any) -> None:
    for name in names:
        await queue.enqueue("call", args, job_id=name)


async def claimed(worker: Leases, most: int = 10) -> list[Claim]:
    return list((await worker.claim(most)).claims)


def ids(claims: list[Claim]) -> list[str]:
    return [claim.job_id for claim in claims]


async def finish(worker: Leases, *claims: Claim) -> None:
    rows = [Finish(job_id=each.job_id, token=each.token, status="succeeded") for each in claims]
    assert await worker.finish(rows) == [True] * len(rows)


async def test_over_all_workers_no_more_run_at_once_and_the_others_wait_in_line(redis: ArqRedis, queue: Queue) -> None:
    one, other = (worker_of(redis, call_type(concurrency=2), name) for name in "ab")
    await put(queue, "1", "2", "3", "4")
    await queue.enqueue("unlimited", {}, job_id="5")
    (first, second, unlimited), none = await claimed(one), await claimed(other)
    assert (ids([first, second, unlimited]), none) == (["1", "2", "5"], [])
    held = await read_job(redis, "3")
    assert held is not None
    assert (held.status, held.attempt, held.tries, held.attempts) == ("deferred", 0, 0, ())
    waiting = await why_waiting(redis, held, silent_s=10)
    assert waiting is not None
    assert (waiting.code, waiting.until_ms) == ("concurrency_limit", None)
    assert waiting.detail == "Waits in line: as many jobs of its type run as may at once (2)."
    await finish(one, second)
    assert await redis.llen(keys.wake(QUEUE)) == 1  # type: ignore[misc]
    (third,) = await claimed(other)
    assert (third.job_id, third.job_try, third.due_at_ms <= third.claimed_at_ms) == ("3", 1, True)
    await finish(one, first)
    await finish(other, third)
    (fourth,) = await claimed(one)
    await finish(one, fourth, unlimited)
    left = {key.decode() for key in await redis.keys("errand:*")} - {keys.wake(QUEUE), keys.limit_lines(QUEUE, "call")}
    assert left == {keys.put_back("3"), keys.put_back("4")} & left, "nothing but notes that expire"


async def test_a_handed_back_or_retried_job_frees_its_slot(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1))
    await put(queue, "1", "2")
    (first,) = await claimed(worker)
    await worker.finish([Finish(job_id="1", token=first.token, status="deferred", due_in_ms=60_000, attempt=b"{}")])
    assert ids(await claimed(worker)) == ["2"]


async def test_keys_have_their_own_slots_and_take_turns(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=50, concurrency_key="{tenant}"))
    many = [f"a{number:03}" for number in range(300)]
    await put(queue, *many, tenant="a")
    await put(queue, "b0", "b1", tenant="b")
    await put(queue, "c0", tenant="c")
    started: list[str] = []
    for _ in range(3):
        claims = await claimed(worker, 4)
        started += ids(claims)
        await finish(worker, *claims)
    assert {"b0", "b1", "c0"} <= set(started)
    assert [job_id for job_id in started if job_id in many] == many[: len(started) - 3]


async def test_what_came_last_is_looked_at_behind_very_many_of_one_key(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=5, concurrency_key="{tenant}"))
    await queue.enqueue_many("call", [{"tenant": "a"}] * 1_500)
    await put(queue, "b", tenant="b")
    await queue.enqueue("unlimited", {}, job_id="c")
    _, *others = ids(await claimed(worker))
    assert {"b", "c"} <= set(others), "in the first claim, which cannot look at all of them"


async def test_a_claim_reads_no_more_of_large_args_than_a_moment_allows(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1, concurrency_key="{tenant}"))
    large = {"tenant": "a", "text": "x" * 1_000_000}
    jobs = [job.job_id for job in await queue.enqueue_many("call", [large] * 40)]
    await queue.enqueue("unlimited", {}, job_id="other")
    before = await gets(redis)
    first, *others = await claimed(worker)
    assert (first.job_id, ids(others)) == (jobs[0], ["other"])
    assert await gets(redis) - before < 30
    (line,) = [key async for key in redis.scan_iter("errand:arq:queue:line:*")]
    while await redis.zcard(line) < 39:
        assert await claimed(worker) == []
    await finish(worker, first)
    assert ids(await claimed(worker)) == [jobs[1]]


async def test_a_claim_looks_at_no_more_large_jobs_than_at_small_ones(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1, concurrency_key="{tenant}"))
    await queue.enqueue_many("call", [{"tenant": "a", "text": "x" * 20_000}] * 1_500)
    before = await gets(redis, "getrange")
    await claimed(worker)
    assert await gets(redis, "getrange") - before < 1_100


async def test_a_key_is_as_the_args_have_it(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1, concurrency_key="{tenant}"))
    await put(queue, "1", tenant=2**60)
    await put(queue, "2", tenant=2**60 + 1)  # a double would have them alike
    await put(queue, "3", customer=str(2**60))
    await put(queue, "4")
    await put(queue, "5", tenant="free")
    assert ids(await claimed(worker)) == ["1", "2", "4"]


async def test_a_key_of_no_finite_number_holds_up_no_other_job(redis: ArqRedis, queue: Queue) -> None:
    """400 digits are an int for Python, and no number for the script, which failed with each claim of the queue."""
    worker = worker_of(redis, call_type(concurrency=1, concurrency_key="{tenant}"))
    await put(queue, "1", "2", tenant=10**400)
    await put(queue, "3", tenant=10**400 + 1)
    await put(queue, "4", "5", tenant=[10**400])
    for name, value in (("6", b"Infinity"), ("7", b"NaN")):  # as Python's own JSON writes them
        await put(queue, name)
        await redis.set(keys.body(name), b'{"t":null,"f":"call","a":[],"k":{"tenant":%b},"et":1}' % value)
    assert ids(await claimed(worker)) == ["1", "3", "4", "6", "7"]


@pytest.mark.parametrize("priority", [b"NaN", b"Infinity", b"-1e999", b'"9"', b"10"])
async def test_a_priority_that_is_none_holds_up_no_other_job(redis: ArqRedis, queue: Queue, priority: bytes) -> None:
    worker = worker_of(redis, call_type(concurrency=1))
    await put(queue, "1", "2", "3")
    await redis.set(keys.body("2"), b'{"t":null,"f":"call","a":[],"k":{},"et":1,"priority":%b}' % priority)
    for name in ("1", "2", "3"):
        (claim,) = await claimed(worker)
        assert claim.job_id == name
        await finish(worker, claim)


async def test_no_more_start_within_a_time_than_may(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(rate="3/h", rate_key="{tenant}"))
    await put(queue, "1", "2", "3", "4", "5", tenant="a")
    await put(queue, "6", tenant="b")
    answer = await worker.claim(10)
    assert ids(list(answer.claims)) == ["1", "2", "3", "6"]
    assert answer.due_in_ms is not None
    assert 25_000 < answer.due_in_ms <= 60_000, "they are due again by themselves before the rate lets them start"
    await finish(worker, *answer.claims)
    assert await claimed(worker) == []
    held = await read_job(redis, "4")
    assert held is not None
    assert held.put_back is not None
    assert held.put_back.code == "rate_limit"
    (starts,) = [key for key in await redis.keys(keys.limit_starts(QUEUE, "*")) if await redis.llen(key) == 3]  # type: ignore[misc]
    await redis.lset(starts, -1, "0")  # type: ignore[misc]  # the first start was an hour ago
    await redis.zadd(keys.limit_lines(QUEUE, "call"), {await line_of(redis): 0})
    assert ids(await claimed(worker)) == ["4"]


async def test_a_clock_that_was_set_back_holds_jobs_up_no_longer_than_their_rate(redis: ArqRedis, queue: Queue) -> None:
    """All that is kept as a time of day is later by as much then."""
    worker, step_ms = worker_of(redis, call_type(rate="2/min")), 3_600_000
    await put(queue, "1", "2", "3")
    await finish(worker, *await claimed(worker))
    (starts,) = await redis.keys(keys.limit_starts(QUEUE, "*"))
    for at in range(2):
        await redis.lset(starts, at, str(int(await redis.lindex(starts, at)) + step_ms))  # type: ignore[misc]
    await redis.zincrby(keys.limit_lines(QUEUE, "call"), step_ms, await line_of(redis))
    assert await claimed(worker) == []
    now_s, _ = await redis.time()
    look_ms = await redis.zscore(keys.limit_lines(QUEUE, "call"), await line_of(redis))
    assert look_ms is not None and 0 < look_ms - now_s * 1000 <= 61_000
    assert max(map(int, await redis.lrange(starts, 0, -1))) <= (now_s + 1) * 1000  # type: ignore[misc]
    for at in range(2):
        await redis.lset(starts, at, "0")  # type: ignore[misc]  # a minute later
    await redis.zadd(keys.limit_lines(QUEUE, "call"), {await line_of(redis): 0})
    assert ids(await claimed(worker)) == ["3"]


async def line_of(redis: ArqRedis) -> bytes:
    (name,) = await redis.zrange(keys.limit_lines(QUEUE, "call"), 0, -1)
    return bytes(name)


async def test_all_limits_of_a_type_must_let_a_job_start(redis: ArqRedis, queue: Queue) -> None:
    limits = [Concurrency(3), Concurrency(2, "{tenant}"), Rate("4/h")]
    worker = worker_of(redis, call_type(limits=limits))
    await put(queue, "1", "2", "3", tenant="a")
    await put(queue, "4", "5", tenant="b")
    claims = await claimed(worker)
    assert ids(claims) == ["1", "4", "2"]
    await finish(worker, *claims[:2])
    assert len(ids(await claimed(worker))) == 1, "the rate lets one more start"
    assert await redis.zcard(QUEUE) == 3


async def test_what_is_cancelled_or_rescheduled_leaves_its_line(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1))
    await put(queue, "1", "2", "3", "4")
    (first,) = await claimed(worker)
    assert await queue.cancel("2") == "cancelled"
    assert await queue.reschedule("3", delay_ms=3_600_000) == "rescheduled"
    await finish(worker, first)
    assert ids(await claimed(worker)) == ["4"]
    moved = await read_job(redis, "3")
    assert moved is not None
    assert (moved.status, moved.put_back) == ("deferred", None)


async def test_a_killed_workers_slot_comes_free_with_its_lease_and_its_job_is_the_first(
    redis: ArqRedis, queue: Queue
) -> None:
    one, other = (worker_of(redis, call_type(concurrency=1), name) for name in "ab")
    await put(queue, "1", "2", "3")
    await claimed(one)
    assert await claimed(other) == []
    await redis.delete(keys.lease("1"))
    await redis.zadd(QUEUE, {"1": 1}, xx=True)
    (again,) = await claimed(other)
    assert (again.job_id, again.lost) == ("1", True)
    await finish(other, again)
    assert ids(await claimed(other)) == ["2"]


async def test_a_job_whose_lease_had_lapsed_and_is_renewed_counts_again(redis: ArqRedis, queue: Queue) -> None:
    """Its worker was paused, or Redis away, for longer than a lease."""
    one, other = (worker_of(redis, call_type(concurrency=1), name) for name in "ab")
    await put(queue, "1")
    (first,) = await claimed(one)
    await redis.delete(keys.lease("1"))
    await put(queue, "2", "3")
    (second,) = await claimed(other)
    assert (await one.renew({"1": first.token}, {})).lost == []
    await finish(other, second)
    assert await claimed(other) == [], "the first runs still"
    await finish(one, first)
    assert ids(await claimed(other)) == ["3"]


async def test_a_type_whose_limit_was_removed_or_that_expired_is_not_held_back(redis: ArqRedis, queue: Queue) -> None:
    limited, free = worker_of(redis, call_type(concurrency=1)), worker_of(redis, call_type())
    await put(queue, "1", "2")
    await claimed(limited)
    await claimed(limited)
    until = await redis.zscore(QUEUE, "2")
    assert until is not None
    assert until - (await redis.time())[0] * 1000 <= 61_000, "due again by itself within a minute"
    await redis.zadd(QUEUE, {"2": 1})
    assert ids(await claimed(free)) == ["2"]


async def test_a_slot_of_a_job_that_others_have_ended_is_let_go(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type(concurrency=1))
    await put(queue, "1")
    await claimed(worker)
    await redis.delete(keys.body("1"), keys.lease("1"))
    await redis.zrem(QUEUE, "1")
    await claimed(worker)
    assert await redis.exists(keys.held_slots(QUEUE)) == 0


async def test_a_worker_runs_all_in_the_end(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    most = running = 0

    @job(concurrency=3, concurrency_key="{tenant}", rate="100/s")
    async def call(ctx: Context, args: Call) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    put = await queue.enqueue_many("call", [{"tenant": number % 2} for number in range(60)])
    async with run_worker([call]):
        for each in put:
            assert (await ended(redis, each.job_id)).status == "succeeded"
    assert most <= 6


class Machine(RedisMachine):
    """Two workers on types with limits: jobs are put, claimed, ended, put back; workers die and lose their leases."""

    limits: tuple[Concurrency, ...] = (Concurrency(3), Concurrency(2, "{tenant}"))

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(self.redis, ended_ttl_s=60)
        self.workers = [worker_of(self.redis, call_type(limits=self.limits), name) for name in "ab"]
        self.live: dict[str, int] = {}
        self.running: dict[str, tuple[Leases, Claim]] = {}
        self.number = 0

    def teardown(self) -> None:
        # what has not ended runs in the end, each job once at a time: none was lost
        for _ in range(20 * (len(self.live) + 1)):
            if not self.live:
                break
            for job_id in list(self.running):
                self._end(job_id, None)
            self.claim(0, 4)
        assert self.live == {}, f"lost: {self.live}"
        for _ in range(50):  # each claim lets one go whose job was cancelled after its worker had died
            self.claim(0, 1)
        assert self.call(self.redis.exists(keys.held_slots(QUEUE))) == 0
        self.call(self.redis.aclose())
        self.runner.close()

    @rule(tenant=st.integers(0, 2), many=st.integers(1, 3))
    def put(self, tenant: int, many: int) -> None:
        for _ in range(many):
            self.number += 1
            self.call(self.queue.enqueue("call", {"tenant": tenant}, job_id=f"{self.number:03}"))
            self.live[f"{self.number:03}"] = tenant

    @rule(worker=st.integers(0, 1), most=st.integers(1, 4))
    def claim(self, worker: int, most: int) -> None:
        for claim in self.call(self.workers[worker].claim(most)).claims:
            assert claim.job_id not in self.running
            self.running[claim.job_id] = (self.workers[worker], claim)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), due_in_ms=st.sampled_from([None, None, 0]))
    def finish(self, data: st.DataObject, due_in_ms: int | None) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.running))), due_in_ms)

    def _end(self, job_id: str, due_in_ms: int | None) -> None:
        worker, claim = self.running.pop(job_id)
        status = "succeeded" if due_in_ms is None else "queued"
        ended = Finish(job_id=job_id, token=claim.token, status=status, due_in_ms=due_in_ms)
        assert self.call(worker.finish([ended])) == [True]
        if due_in_ms is None:
            del self.live[job_id]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[job_id]
        self.call(self.redis.delete(keys.lease(job_id)))
        self.call(self.redis.zadd(QUEUE, {job_id: 1}, xx=True))

    @precondition(lambda self: self.live.keys() > self.running.keys())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(set(self.live) - set(self.running))))
        assert self.call(self.queue.cancel(job_id)) == "cancelled"
        del self.live[job_id]

    @invariant()
    def no_more_run_than_may(self) -> None:
        tenants = [self.live[job_id] for job_id in self.running]
        assert len(tenants) <= 3
        assert all(tenants.count(tenant) <= 2 for tenant in tenants)

    @invariant()
    def none_is_lost(self) -> None:
        assert {job_id.decode() for job_id in self.call(self.redis.zrange(QUEUE, 0, -1))} == set(self.live)


def test_counts_hold_whatever_happens_to_workers(redis_url: str) -> None:
    Machine.url = apart(redis_url, 4)
    run_state_machine_as_test(
        Machine, settings=hypothesis_settings(max_examples=20, stateful_step_count=30, deadline=None)
    )
