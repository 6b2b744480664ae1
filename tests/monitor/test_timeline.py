"""All jobs on one timeline: what a page holds, in which order, and that its cost does not grow with the jobs."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from arq import func
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.job.context import Context
from errand.job.job_type import job
from errand.leases.leases import FOR_EVER_MS, Claim, Finish, Leases
from errand.monitor import timeline
from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, read_job
from errand.monitor.timeline import JobFilter, Page, PageStart, Position, Timeline
from errand.queue.queue import Queue
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry, type_word
from errand.wire.records import Error, JobFailed
from tests.conftest import RunWorker, running_worker
from tests.dying import die
from tests.queue.test_cancel import Endless
from tests.waiting import eventually
from tests.worker.test_crashes import lapse

QUEUE, CPU = keys.queue(keys.DEFAULT_QUEUE), keys.queue("cpu")
EVERY = JobFilter()
HOUR_MS = 3_600_000
KEEP_MS = 600_000


class House:
    """Two queues and their timeline; jobs are claimed and ended here as a worker does, without one."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self.queues = {name: Queue(redis, name=name, ended_ttl_s=KEEP_MS / 1000) for name in ("default", "cpu")}
        self.queue = self.queues["default"]
        self.timeline = Timeline(redis, queues=[QUEUE, CPU])
        self.replays = Replays(DeadJobs(redis, queues=[QUEUE, CPU], ttl_s=KEEP_MS / 1000))
        self.types: dict[str, str] = {}

    async def put(
        self,
        type_name: str = "any",
        *,
        queue: str = "default",
        job_id: str | None = None,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
    ) -> str:
        put = await self.queues[queue].enqueue(type_name, {}, job_id=job_id, delay_ms=delay_ms, run_at_ms=run_at_ms)
        self.types[put.job_id] = type_name
        return put.job_id

    async def claim(self, most: int = 100, *, queue: str = "default") -> Sequence[Claim]:
        return (await self._leases(queue).claim(most)).claims

    async def end(
        self, claims: Sequence[Claim], end: str = "succeeded", *, queue: str = "default", keep_ms: int = KEEP_MS
    ) -> None:
        """All in one call."""
        outcomes = [self._outcome(claim, end, queue=queue, keep_ms=keep_ms) for claim in claims]
        assert all(await self._leases(queue).finish(outcomes))

    async def ended(self, type_name: str = "any", end: str = "succeeded", *, keep_ms: int = KEEP_MS) -> str:
        """The id of a job that has just ended so."""
        job_id = await self.put(type_name)
        await self.end([claim for claim in await self.claim() if claim.job_id == job_id], end, keep_ms=keep_ms)
        await self.pass_a_moment()
        return job_id

    async def pass_a_moment(self) -> None:
        """Until the server's clock shows another ms."""
        started_ms = await self.now_ms()
        while await self.now_ms() == started_ms:
            pass

    async def now_ms(self) -> int:
        seconds, micros = await self.redis.time()
        return int(seconds * 1000 + micros // 1000)

    async def pages(self, filter: JobFilter = EVERY, *, limit: int = 10, start: PageStart | None = None) -> list[Page]:
        """From that one to the last."""
        found: list[Page] = []
        while not found or start:
            found.append(await self.timeline.page(filter, limit=limit, start=start))
            start = found[-1].next
        return found

    async def jobs(self, filter: JobFilter = EVERY, *, limit: int = 10) -> list[JobSnapshot]:
        return [job for page in await self.pages(filter, limit=limit) for job in page.jobs]

    async def ids(self, filter: JobFilter = EVERY, *, limit: int = 10) -> list[str]:
        return [job.id for job in await self.jobs(filter, limit=limit)]

    async def indexes(self, queue: str = QUEUE) -> dict[str, list[str]]:
        """Name of an index → the ids in it, the oldest first."""
        names = [name.decode() for name in await self.redis.sunion([keys.ended(queue)])]  # type: ignore[misc]  # types both its clients
        found = {name: await self.redis.zrange(keys.ended_index(queue, name), 0, -1) for name in sorted(names)}
        return {name: [job_id.decode() for job_id in ids] for name, ids in found.items() if ids}

    def _leases(self, queue: str) -> Leases:
        return Leases(self.redis, queue=keys.queue(queue), worker="one:1:a", lease_s=60)

    def _outcome(self, claim: Claim, end: str, *, queue: str, keep_ms: int) -> Finish:
        type_name, error, entry = self.types.get(claim.job_id, "any"), Error("E", "x"), ""
        record = {
            "t": 1,
            "f": type_name,
            "a": [],
            "k": {},
            "et": 1,
            "s": end == "succeeded",
            "r": None,
            "st": 1,
            "ft": 2,
        }
        if end != "succeeded":
            record["r"] = JobFailed(error, cancelled=end == "cancelled")
        if end == "failed" and keep_ms > 0:
            entry = str(DeadEntry.of(claim.job_id, type_name, error, ended_at_ms=2))
        result = codec.dumps({**record, "st": 1, "ft": 2, "q": keys.queue(queue), "id": claim.job_id, "attempts": []})
        return Finish(
            job_id=claim.job_id,
            token=claim.token,
            status=end,
            result=result,
            keep_result_ms=keep_ms,
            dead=entry,
            type=type_word(type_name),
        )


@pytest.fixture
def house(redis: ArqRedis) -> House:
    return House(redis)


async def test_the_timeline_has_planned_jobs_then_due_ones_then_ended_ones(house: House) -> None:
    first = await house.ended(end="failed")
    second = await house.ended()
    running = await house.put()
    await house.claim()
    await house.pass_a_moment()
    due = await house.put(queue="cpu")
    planned = [await house.put(delay_ms=hours * HOUR_MS) for hours in (1, 3)]
    jobs = await house.jobs()
    assert [(job.id, job.status) for job in jobs] == [
        (planned[1], "deferred"),
        (planned[0], "deferred"),
        (due, "queued"),
        (running, "in_progress"),
        (second, "succeeded"),
        (first, "failed"),
    ]
    for limit in (1, 2, 5):
        assert await house.ids(limit=limit) == [job.id for job in jobs]


async def test_a_listed_job_is_as_it_is_read_alone_without_its_large_fields(
    redis: ArqRedis, house: House, run_worker: RunWorker
) -> None:
    (died,) = await die(redis, run_worker, [{"number": 4}])
    waiting = await house.put()
    for job_id in (died, waiting):
        whole = await timeline_of_one(house, job_id)
        assert whole.args == {} and whole.attempts == () and whole.result is None
    listed = await timeline_of_one(house, died)
    assert listed.error is not None and listed.error.message == "cup 4" and listed.error.traceback is None
    assert (listed.type, listed.queue, listed.attempt) == ("fragile", "default", 1)


async def timeline_of_one(house: House, job_id: str) -> JobSnapshot:
    return next(job for job in await house.jobs() if job.id == job_id)


FILTERS: list[tuple[JobFilter, list[int]]] = [
    (JobFilter(type="a"), [6, 5, 4, 0]),
    (JobFilter(type="absent"), []),
    (JobFilter(statuses=frozenset({"deferred"})), [6]),
    (JobFilter(statuses=frozenset({"queued"})), [5]),
    (JobFilter(statuses=frozenset({"in_progress"})), [4, 3]),
    (JobFilter(statuses=frozenset({"succeeded"})), [2, 0]),
    (JobFilter(statuses=frozenset({"failed", "queued"})), [5, 1]),
    (JobFilter(statuses=frozenset({"deferred", "queued", "in_progress"})), [6, 5, 4, 3]),
    (JobFilter(statuses=ENDS), [2, 1, 0]),
    (JobFilter(queue="cpu"), []),
    (JobFilter(type="a", statuses=frozenset({"succeeded", "in_progress"})), [4, 0]),
    (JobFilter(type="b", queue="default", statuses=ENDS), [2, 1]),
]


@pytest.mark.parametrize(("filter", "numbers"), FILTERS)
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_filters_hold_exactly_what_they_name(
    house: House, filter: JobFilter, numbers: list[int], limit: int
) -> None:
    ids = [await house.ended("a"), await house.ended("b", "failed"), await house.ended("b")]
    ids.append(await house.put("b"))
    await house.pass_a_moment()
    ids.append(await house.put("a"))
    await house.claim()
    await house.pass_a_moment()
    ids += [await house.put("a"), await house.put("a", delay_ms=HOUR_MS)]
    assert await house.ids(filter, limit=limit) == [ids[number] for number in numbers]


async def test_since_and_until_go_by_the_moment_on_the_timeline(house: House) -> None:
    ids = [await house.ended(end=end) for end in ("succeeded", "failed", "cancelled")]
    now_ms = await house.now_ms()
    ids += [await house.put(run_at_ms=now_ms + hours * HOUR_MS) for hours in (1, 2)]
    at_ms = [now_ms + HOUR_MS, now_ms + 2 * HOUR_MS]
    for name, job_id in zip(("cancelled", "failed", "succeeded"), ids[2::-1], strict=True):
        at_ms.insert(0, int(await house.redis.zscore(keys.ended_index(QUEUE, f"{name}:any"), job_id) or 0))
    for limit in (1, 10):
        for low in range(5):
            assert await house.ids(JobFilter(since_ms=at_ms[low]), limit=limit) == ids[low:][::-1]
            assert await house.ids(JobFilter(until_ms=at_ms[low]), limit=limit) == ids[:low][::-1]
        assert await house.ids(JobFilter(since_ms=at_ms[1], until_ms=at_ms[4]), limit=limit) == ids[1:4][::-1]
        assert await house.ids(JobFilter(since_ms=at_ms[3], until_ms=at_ms[3]), limit=limit) == []


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_jobs_of_one_moment_come_once_each_on_pages_of_any_size(house: House, limit: int) -> None:
    put = await house.queue.enqueue_many("any", [{}] * 120)
    await house.end(await house.claim(120))
    at_ms = await house.now_ms() + HOUR_MS
    put += await house.queue.enqueue_many("any", [{}] * 120, run_at_ms=at_ms)
    put += await house.queues["cpu"].enqueue_many("any", [{}] * 30, run_at_ms=at_ms)
    listed = await house.ids(limit=limit)
    assert len(listed) == len(set(listed)) and set(listed) == {one.job_id for one in put}


async def test_a_cursor_outlives_the_job_that_it_points_to(house: House) -> None:
    put = await house.queue.enqueue_many("any", [{}] * 30)
    await house.end(await house.claim(30))
    ids = await house.ids()
    first = await house.timeline.page(EVERY, limit=11)
    assert await house.queue.forget(ids[10])
    rest = [job.id for page in await house.pages(start=first.next) for job in page.jobs]
    assert rest == ids[11:] and len(put) == 30


# --- what becomes of an entry


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
async def test_each_end_is_listed_under_its_name_and_for_as_long_as_its_result(house: House, end: str) -> None:
    first = await house.ended("a", end)
    second = await house.ended("b:c", end, keep_ms=1_000)
    assert await house.indexes() == {f"{end}:a": [first], f"{end}:b:c": [second]}
    assert KEEP_MS - 60_000 < await house.redis.pttl(keys.ended_index(QUEUE, f"{end}:a")) <= KEEP_MS
    assert 0 < await house.redis.pttl(keys.ended_index(QUEUE, f"{end}:b:c")) <= 1_000
    third = await house.ended("a", end, keep_ms=1_000)
    assert await house.redis.pttl(keys.ended_index(QUEUE, f"{end}:a")) > 1_000, "the first is kept for longer"
    assert [job.id for job in await house.jobs()] == [third, second, first]


async def test_a_job_whose_result_is_not_kept_is_not_listed(house: House) -> None:
    kept, _ = await house.ended(), await house.ended(keep_ms=0)
    assert await house.indexes() == {"succeeded:any": [kept]} and await house.ids() == [kept]


async def test_a_job_that_is_kept_for_ever_is_listed_for_ever(house: House) -> None:
    first = await house.ended(keep_ms=1_000)
    for_ever = await house.ended(keep_ms=FOR_EVER_MS)
    last = await house.ended(keep_ms=1_000)
    assert await house.redis.pttl(keys.ended_index(QUEUE, "succeeded:any")) == -1
    assert await house.ids() == [last, for_ever, first]


async def test_outcomes_of_one_call_are_each_listed_as_they_ended(house: House) -> None:
    ids = [await house.put(f"type {number % 3}") for number in range(30)]
    claims = await house.claim()
    mixed = [
        house._outcome(claim, sorted(ENDS)[number % 2], queue="default", keep_ms=(1_000, KEEP_MS)[number % 2])
        for number, claim in enumerate(claims)
    ]
    await house._leases("default").finish(mixed)
    assert set(await house.ids()) == set(ids)
    assert len(await house.indexes()) == 6
    assert await house.redis.pttl(keys.ended_index(QUEUE, "failed:type_1")) > 1_000


async def test_more_jobs_than_one_command_takes_end_in_one_call(house: House) -> None:
    await house.queue.enqueue_many("any", [{}] * 5_000)
    await house.end(await house.claim(5_000))
    assert await house.redis.zcard(keys.ended_index(QUEUE, "succeeded:any")) == 5_000


async def test_each_end_removes_some_entries_that_have_expired(house: House) -> None:
    index = keys.ended_index(QUEUE, "succeeded:any")
    await house.ended()
    await house.redis.zadd(index, {f"old {number}": number for number in range(10)})
    await house.end([(await house.claim(1))[0] for _ in range(3) if await house.put()])
    assert await house.redis.zcard(index) == 1 + 3 + 4, "two for each"


async def test_an_expired_job_is_left_out_and_removed_from_its_index(house: House) -> None:
    ids = [await house.ended() for _ in range(9)][::-1]
    await house.redis.delete(*(keys.result(job_id) for job_id in ids[:4]))
    page = await house.timeline.page(EVERY, limit=3)
    assert [job.id for job in page.jobs] == ids[4:7], "the page is filled with those behind"
    assert await house.indexes() == {"succeeded:any": ids[4:][::-1]}


async def test_an_entry_that_was_written_anew_is_not_removed_as_outdated(house: House) -> None:
    job_id = await house.ended()
    (entry,) = (await house.timeline._entries(EVERY, PageStart(timeline.TOP), most=5))[0]
    assert await house.queue.forget(job_id)
    await house.put(job_id=job_id)
    await house.end(await house.claim())
    result = await house.redis.getdel(keys.result(job_id))
    assert await house.timeline._jobs_of([entry], EVERY) == [None]
    assert await house.indexes() == {"succeeded:any": [job_id]}
    await house.redis.set(keys.result(job_id), result)
    assert await house.ids() == [job_id]


async def test_forgotten_replayed_and_cancelled_jobs_are_listed_as_they_are_now(house: House) -> None:
    forgotten = await house.ended()
    died = await house.ended(end="failed")
    cancelled = await house.put(delay_ms=HOUR_MS)
    assert await house.queue.cancel(cancelled) == "cancelled"
    assert await house.queue.forget(forgotten)
    assert await house.indexes() == {"cancelled:any": [cancelled], "failed:any": [died]}
    assert [(job.id, job.status) for job in await house.jobs()] == [(cancelled, "cancelled"), (died, "failed")]
    for job_id in (died, cancelled):
        assert await house.replays.one(job_id, queue=QUEUE) == "replayed"
    assert await house.indexes() == {}
    assert {(job.id, job.status) for job in await house.jobs()} == {(cancelled, "queued"), (died, "queued")}
    await house.end(await house.claim())
    assert await house.indexes() == {"succeeded:any": sorted([died, cancelled])}


async def test_a_retry_made_due_at_once_moves_to_the_moment_it_is_due(house: House) -> None:
    job_id = await house.put()
    (claim,) = await house.claim()
    again = Finish(job_id=job_id, token=claim.token, status="deferred", due_in_ms=HOUR_MS)
    await house._leases("default").finish([again])
    (waits,) = await house.jobs(JobFilter(statuses=frozenset({"deferred"})))
    assert waits.attempt == 1 and waits.run_at_ms is not None and waits.run_at_ms > await house.now_ms()
    assert await house.queue.retry(job_id) == "retried"
    assert await house.ids(JobFilter(statuses=frozenset({"queued"}))) == [job_id]


async def test_a_job_that_was_put_again_under_its_id_is_listed_once(house: House) -> None:
    job_id = await house.put()
    await house.end(await house.claim())
    await house.redis.delete(keys.result(job_id))
    await house.put(job_id=job_id)
    assert [(job.id, job.status) for job in await house.jobs()] == [(job_id, "queued")]
    await house.end(await house.claim(), "failed")
    assert [(job.id, job.status) for job in await house.jobs()] == [(job_id, "failed")]
    assert await house.indexes() == {"failed:any": [job_id]}


async def test_a_job_that_cannot_be_read_hides_no_other(house: House, redis: ArqRedis) -> None:
    good, bad, strange = await house.ended(), await house.ended(), await house.put()
    await redis.set(keys.result(bad), b"\x80pickle")
    await redis.set(keys.body(strange), b"\x80pickle")
    strange_ones: dict[Any, float] = {"bodiless": 1, b"\xff\xfe": 2, "endless": 1e18, "early": -math.inf}
    await redis.zadd(QUEUE, strange_ones)
    await redis.set(keys.body("endless"), await body_of(house))
    await redis.set(keys.body("early"), await body_of(house))
    for limit in (1, 10):
        jobs = {job.id: job for job in await house.jobs(limit=limit)}
        assert {good, strange, "endless", "early"} <= jobs.keys() and bad not in jobs and "bodiless" not in jobs
        assert jobs[strange].type == codec.UNREADABLE and jobs["endless"].status == "deferred"


async def body_of(house: House) -> bytes:
    body: bytes | None = await house.redis.get(keys.body(await house.put()))
    assert body is not None
    return body


# --- by workers


async def test_a_running_job_stands_where_it_was_due_not_at_the_end_of_its_lease(
    house: House, run_worker: RunWorker
) -> None:
    endless = Endless()
    async with run_worker([endless.job_type], lease_s=3600):
        job_id = await house.put("endless")
        await asyncio.wait_for(endless.started.wait(), 60)
        (job,) = await house.jobs()
        assert (job.id, job.status, job.attempt) == (job_id, "in_progress", 1)
        assert job.run_at_ms is not None and job.run_at_ms <= await house.now_ms() and job.started_at_ms is not None
        assert await house.ids(JobFilter(type="endless", statuses=frozenset({"in_progress"}))) == [job_id]
        assert await house.ids(JobFilter(statuses=frozenset({"queued", "deferred"}))) == []
        assert await house.queue.cancel(job_id) == "cancelling"

        async def cancelled() -> bool:
            return await house.ids(JobFilter(statuses=frozenset({"cancelled"}))) == [job_id]

        await eventually(cancelled)
    assert await house.ids() == [job_id]


async def test_a_job_whose_worker_has_died_is_queued(house: House, redis: ArqRedis) -> None:
    job_id = await house.put()
    await house.claim()
    await lapse(redis, [job_id])
    for filter in (EVERY, JobFilter(statuses=frozenset({"queued"}))):
        assert [(job.id, job.status) for job in await house.jobs(filter)] == [(job_id, "queued")]
    assert await house.ids(JobFilter(statuses=frozenset({"in_progress"}))) == []


class Nothing(BaseModel):
    pass


@job()
async def ours(ctx: Context, args: Nothing) -> None:
    """Makes a worker one of ours, which lists what it ends."""


async def test_a_worker_of_plain_functions_alone_leaves_in_redis_what_arqs_own_leaves(
    house: House, redis: ArqRedis, redis_url: str
) -> None:
    async def quick(ctx: object) -> None:
        pass

    async with running_worker(redis_url, functions=[func(quick, name="quick")], burst=True) as worker:
        await redis.enqueue_job("quick")

        async def has_ended() -> bool:
            return worker.jobs_complete == 1

        await eventually(has_ended)
    assert await house.indexes() == {}


async def test_jobs_of_stock_producers_and_of_types_nobody_here_knows_are_listed(
    house: House, redis: ArqRedis, redis_url: str
) -> None:
    async def add(ctx: object, one: int) -> int:
        if one < 0:
            raise ValueError("negative")
        return one + 1

    put = [
        await redis.enqueue_job("add", 1),
        await redis.enqueue_job("add", -1),
        await redis.enqueue_job("gone far", 1),
    ]
    ids = [job.job_id for job in put if job is not None]
    # stock Arq rounds the time up to the next ms
    await house.pass_a_moment()
    assert {(job.id, job.type, job.status) for job in await house.jobs()} == {
        (ids[0], "add", "queued"),
        (ids[1], "add", "queued"),
        (ids[2], "gone far", "queued"),
    }
    assert await house.ids(JobFilter(type="gone far")) == [ids[2]]
    async with running_worker(redis_url, job_types=[ours], functions=[func(add, name="add")], burst=True):

        async def is_done() -> bool:
            return {job.status for job in await house.jobs()} == {"succeeded", "failed", "deferred"}

        await eventually(is_done)
    # of a type that no worker knows: it waits for one
    assert await house.ids(JobFilter(type="gone far", statuses=frozenset({"deferred"}))) == [ids[2]]
    await house.queues["default"].cancel(ids[2])
    assert await house.ids(JobFilter(type="gone far", statuses=frozenset({"cancelled"}))) == [ids[2]]
    assert set(await house.ids(JobFilter(type="add"))) == set(ids[:2])
    assert set(await house.indexes()) == {"failed:add", "cancelled:gone_far", "succeeded:add"}


async def test_an_aborted_plain_function_is_listed_as_cancelled(house: House, redis: ArqRedis, redis_url: str) -> None:
    started = asyncio.Event()

    async def endless(ctx: object) -> None:
        started.set()
        await asyncio.Event().wait()

    async with running_worker(
        redis_url, job_types=[ours], functions=[func(endless, name="endless")], allow_abort_jobs=True, poll_delay=0.1
    ):
        job = await redis.enqueue_job("endless")
        assert job is not None
        await asyncio.wait_for(started.wait(), 60)
        assert await job.abort(timeout=60, poll_delay=0.05) is True
    assert await house.ids(JobFilter(statuses=frozenset({"cancelled"}))) == [job.job_id]


# --- bounds


async def test_types_past_a_number_share_an_index_and_are_found_all_the_same(house: House) -> None:
    many = [f"type{number}" for number in range(258)]
    await house.redis.sadd(keys.ended(QUEUE), *(f"succeeded:{name}" for name in many[:256]))  # type: ignore[misc]  # types both its clients
    for name in many[:256]:
        await house.redis.zadd(keys.ended_index(QUEUE, f"succeeded:{name}"), {f"gone {name}": 1})
    shared = [await house.ended(name) for name in many[256:]]
    assert (await house.indexes())["succeeded:*"] == shared
    assert await house.ids(JobFilter(type=many[256])) == [shared[0]]
    assert await house.ids(JobFilter(type=many[257])) == [shared[1]]
    assert await house.queue.forget(shared[1])
    assert (await house.indexes())["succeeded:*"] == shared[:1]
    # every other entry is outdated: the first look has emptied those indexes, so that there is room again
    assert await house.ids() == [shared[0]]
    assert (await house.indexes()) == {"succeeded:*": [shared[0]]}
    own = await house.ended(many[257])
    assert (await house.indexes()) == {"succeeded:*": [shared[0]], f"succeeded:{many[257]}": [own]}


async def test_a_page_of_a_rare_type_looks_at_a_bounded_number_of_jobs_and_leads_on(house: House) -> None:
    rare = await house.put("rare")
    await house.pass_a_moment()
    await house.queue.enqueue_many("frequent", [{}] * 2_500)
    pages = await house.pages(JobFilter(type="rare"), limit=5)
    assert [[job.id for job in page.jobs] for page in pages] == [[], [], [rare]]
    before, _ = await spent(house.redis)
    await house.timeline.page(JobFilter(type="rare"), limit=5)
    after, _ = await spent(house.redis)
    assert (after - before)["cmdstat_mget"] == 20, "fifty jobs each"


@pytest.mark.parametrize(
    "filter",
    [EVERY, JobFilter(type="any", statuses=ENDS), JobFilter(statuses=frozenset({"queued"}))],
    ids=["every job", "the ended jobs of a type", "queued jobs"],
)
async def test_a_page_costs_the_same_however_many_jobs_there_are(house: House, filter: JobFilter) -> None:
    shallow, deep = [await costs(house, filter, number) for number in (1_000, 20_000)]
    assert [commands for commands, _ in shallow] == [commands for commands, _ in deep]
    for (commands, few_bytes), (_, many_bytes) in zip(shallow, deep, strict=True):
        assert sum(commands.values()) < 25
        assert 0.9 < many_bytes / few_bytes < 1.1


async def costs(house: House, filter: JobFilter, number: int) -> list[tuple[Counter[str], int]]:
    """What the first page of that many jobs costs, one in the midst, and the last: commands, and bytes of answers."""
    await house.redis.flushall()
    started_ms = await fill(house, number)
    await house.timeline.page(filter, limit=20)  # the script is known from here on
    found = []
    middle = PageStart(Position(started_ms - number // 2, f"x{number // 2:06d}".encode()), (started_ms,))
    last = PageStart(Position(started_ms - number + 20, f"x{number - 20:06d}".encode()), (started_ms,))
    for start in (None, middle, last):
        before = await spent(house.redis)
        page = await house.timeline.page(filter, limit=20, start=start)
        after = await spent(house.redis)
        found.append((after[0] - before[0], after[1] - before[1]))
        assert len(page.jobs) == 20 or page.next is None
    return found


async def fill(house: House, number: int) -> int:
    """One job in each ms down from the one that is returned; every second one has ended."""
    redis, now_ms = house.redis, await house.now_ms()
    body = await body_of(house)
    record = {"t": 1, "f": "any", "a": [], "k": {}, "et": 1, "s": True, "r": None, "st": 1, "ft": 2, "q": QUEUE}
    result = codec.dumps({**record, "attempts": []})
    index = keys.ended_index(QUEUE, "succeeded:any")
    for start in range(0, number, 10_000):
        times = {f"x{at:06d}": now_ms - at for at in range(start, min(start + 10_000, number))}
        for name, key, kept in ((QUEUE, keys.body, body), (index, keys.result, result)):
            of_kind = {job_id: at_ms for job_id, at_ms in times.items() if (now_ms - at_ms + (name == index)) % 2}
            await redis.zadd(name, of_kind)
            await redis.mset({key(job_id): kept for job_id in of_kind})
    await redis.sadd(keys.ended(QUEUE), "succeeded:any")  # type: ignore[misc]  # types both its clients
    return now_ms


async def spent(redis: ArqRedis) -> tuple[Counter[str], int]:
    """How often each command has run so far, those of scripts included; and the bytes of all answers."""
    stats = await redis.info("commandstats")
    sent = (await redis.info("stats"))["total_net_output_bytes"]
    return Counter({name: of_one["calls"] for name, of_one in stats.items() if name != "cmdstat_info"}), sent


# --- random histories


@pytest.mark.parametrize("seed", range(12))
async def test_each_job_is_listed_once_and_in_order_after_any_changes(house: House, seed: int) -> None:
    chance = random.Random(seed)
    known = await live(house, chance, steps=60)
    state = {job_id: job for job_id in known if (job := await read_job(house.redis, job_id, queues=[QUEUE, CPU]))}
    for _ in range(8):
        filter = JobFilter(
            type=chance.choice([None, None, "a", "b"]),
            statuses=frozenset(chance.sample(STATUSES, chance.choice([0, 0, 1, 2, 4]))),
            queue=chance.choice([None, None, "default", "cpu"]),
        )
        expected = {
            job_id
            for job_id, job in state.items()
            if filter.includes(job.status) and filter.type in (None, job.type) and filter.queue in (None, job.queue)
        }
        jobs = await house.jobs(filter, limit=chance.choice([1, 2, 5, 50]))
        listed = [job.id for job in jobs]
        assert len(listed) == len(set(listed)) and set(listed) == expected, filter
        assert all(job.status == state[job.id].status for job in jobs)
        due = [job.run_at_ms or 0 for job in jobs if not job.ended]
        assert due == sorted(due, reverse=True)


@pytest.mark.parametrize("seed", range(12))
async def test_no_job_is_listed_twice_while_jobs_run_and_end_between_the_pages(house: House, seed: int) -> None:
    chance = random.Random(seed)
    known = await live(house, chance, steps=60)
    listed: list[str] = []
    start: PageStart | None = None
    untouched = set(known)
    while True:
        page = await house.timeline.page(EVERY, limit=chance.choice([1, 3, 7]), start=start)
        listed += [job.id for job in page.jobs]
        if page.next is None:
            break
        start = page.next
        for queue in house.queues:
            claims = await house.claim(chance.choice([0, 1, 2]), queue=queue)
            await house.end(claims, chance.choice(sorted(ENDS)), queue=queue)
            untouched -= {claim.job_id for claim in claims}
        for job_id in chance.sample(sorted(known), 2):
            job = await read_job(house.redis, job_id, queues=[QUEUE, CPU])
            if job is not None and not job.ended and await house.queues[job.queue].cancel(job_id) == "cancelled":
                untouched.discard(job_id)
        await house.put()
    assert len(listed) == len(set(listed))
    remembered = {job_id for job_id in untouched if await read_job(house.redis, job_id, queues=[QUEUE, CPU])}
    assert remembered <= set(listed), "what has not changed is in the list"


STATUSES: list[Status] = ["deferred", "queued", "in_progress", "succeeded", "failed", "cancelled"]


async def live(house: House, chance: random.Random, *, steps: int) -> dict[str, str]:
    """Jobs come, run, end, are cancelled, replayed and forgotten at random; of each id the queue."""
    known: dict[str, str] = {}
    for _ in range(steps):
        queue = chance.choice(list(house.queues))
        match chance.randrange(6):
            case 0 | 1:
                put = await house.queues[queue].enqueue_many(
                    (name := chance.choice("ab")), [{}] * chance.randint(1, 6), delay_ms=chance.choice([0, 0, 90_000])
                )
                house.types |= {one.job_id: name for one in put}
                known |= {one.job_id: queue for one in put}
            case 2:
                claims = list(await house.claim(chance.randint(1, 6), queue=queue))
                await house.end(claims[chance.randint(0, 1) :], chance.choice(sorted(ENDS)), queue=queue)
            case how if known:
                job_id, queue = chance.choice(list(known.items()))
                if how == 3:
                    await house.queues[queue].cancel(job_id)
                elif how == 4:
                    await house.replays.one(job_id, queue=keys.queue(queue))
                else:
                    await house.queues[queue].forget(job_id)
    return known
