"""Dead jobs: entered when they end, listed and counted without a look at each job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from arq.connections import ArqRedis
from arq.worker import func
from pydantic import BaseModel

from errand.dead_jobs import dead_jobs
from errand.dead_jobs.dead_jobs import DeadGroup, DeadJobFilter, DeadJobs, DeadPosition
from errand.job.context import Context
from errand.job.control import Cancel
from errand.job.job_type import job
from errand.leases.leases import Finish, Leases
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry
from errand.wire.records import Error, JobFailed
from tests.conftest import RunWorker, running_worker
from tests.dying import CUPS, PLATES, QUEUE, REFUSED, brittle, die, entries_of, fragile, porous
from tests.waiting import eventually
from tests.worker.test_worker import ended

EVERY = DeadJobFilter()
CPU = keys.queue("cpu")


class Nothing(BaseModel):
    pass


@pytest.fixture
def dead(redis: ArqRedis) -> DeadJobs:
    return DeadJobs(redis, queues=[QUEUE, CPU], ttl_s=3600)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def pages(dead: DeadJobs, filter: DeadJobFilter = EVERY, *, limit: int = 10) -> list[list[JobSnapshot]]:
    """All pages, from the first to the last."""
    found, before = [], None
    while True:
        page = await dead.page(filter, limit=limit, before=before)
        found.append(list(page.jobs))
        if page.next is None:
            return found
        before = page.next


async def ids(dead: DeadJobs, filter: DeadJobFilter = EVERY) -> list[str]:
    return [job.id for page in await pages(dead, filter) for job in page]


def shown(group: DeadGroup) -> tuple[str, str, int]:
    return group.newest.type, group.newest.fingerprint, group.count


async def test_a_job_that_fails_is_entered_with_type_fingerprint_and_end(
    redis: ArqRedis, run_worker: RunWorker
) -> None:
    (job_id,) = await die(redis, run_worker, [{"how": "drop"}])
    died = await read_job(redis, job_id)
    assert died is not None and died.error is not None and died.finished_at_ms is not None
    assert died.error.fingerprint == CUPS
    assert await entries_of(redis) == [DeadEntry("fragile", CUPS, died.finished_at_ms, job_id)]


async def test_jobs_that_succeed_or_are_cancelled_or_wait_for_their_next_try_are_not_dead(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    @job()
    async def withdrawn(ctx: Context, args: Nothing) -> None:
        raise Cancel("no more of it")

    @job()
    async def again(ctx: Context, args: Nothing) -> None:
        raise ValueError("later")

    whole = await queue.enqueue("fragile", {"how": "hold"})
    withdrawn_job = await queue.enqueue("withdrawn", {})
    waiting = await queue.enqueue("again", {})

    async def waits() -> bool:
        snapshot = await read_job(redis, waiting.job_id)
        return snapshot is not None and snapshot.status == "deferred"

    async with run_worker([fragile, withdrawn, again]):
        await ended(redis, whole.job_id)
        await ended(redis, withdrawn_job.job_id)
        await eventually(waits)
    assert await entries_of(redis) == []


async def test_a_job_that_ends_unstarted_is_entered_by_the_class_of_its_error_alone(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    misfit = await queue.enqueue("fragile", {"number": "many"})
    async with run_worker([fragile]):
        await ended(redis, misfit.job_id)
    assert {(entry.type, entry.fingerprint, entry.job_id) for entry in await entries_of(redis)} == {
        ("fragile", "InvalidArgs", misfit.job_id),
    }


async def test_a_timeout_says_where_the_job_was_then(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue, dead: DeadJobs
) -> None:
    async def wait_for_an_answer() -> None:
        await asyncio.Event().wait()

    @job(max_tries=1, timeout_s=0.05)
    async def slow(ctx: Context, args: Nothing) -> None:
        await wait_for_an_answer()

    put = await queue.enqueue("slow", {})
    async with run_worker([slow]):
        died = await ended(redis, put.job_id)
    assert died.error is not None and died.error.message == "ran longer than 0.05 s"
    assert died.error.fingerprint.startswith("TimeoutError@tests.dead_jobs.test_dead_jobs:")
    assert died.error.fingerprint.endswith("wait_for_an_answer")
    assert await ids(dead) == [put.job_id]


async def test_failed_functions_of_a_stock_worker_are_not_entered(redis: ArqRedis, redis_url: str) -> None:
    async def broken(ctx: object) -> None:
        raise ValueError("x")

    async with running_worker(redis_url, functions=[func(broken, name="broken")]):
        put = await redis.enqueue_job("broken")
        assert put is not None
        await ended(redis, put.job_id)
    assert await entries_of(redis) == []


async def test_an_outcome_that_is_dropped_enters_nothing(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    (claim,) = (await leases.claim(1)).claims
    await redis.set(keys.lease(put.job_id), "somebody else")
    assert await leases.finish([burial(put.job_id, claim.token)]) == [False]
    assert await entries_of(redis) == []


def burial(
    job_id: str,
    token: str,
    *,
    kind: str = "Error",
    ended_at_ms: int = 1,
    keep_ms: int = 60_000,
    type_name: str = "any",
) -> Finish:
    """The end of a claimed job as a dead one."""
    error = Error(kind, "x")
    record = {"f": type_name, "a": [], "k": {}, "t": 1, "et": 1, "s": False, "r": JobFailed(error), "st": 1}
    record |= {"ft": ended_at_ms, "q": QUEUE, "id": job_id, "attempts": []}
    entry = DeadEntry.of(job_id, type_name, error, ended_at_ms=ended_at_ms)
    result = codec.dumps(record)
    return Finish(job_id=job_id, token=token, status="failed", result=result, keep_result_ms=keep_ms, dead=str(entry))


async def bury(
    redis: ArqRedis,
    queue: Queue,
    many: list[tuple[str, int]],
    *,
    keep_ms: int = 60_000,
    type_name: str = "any",
) -> list[str]:
    """A dead job for each (kind of error, end in ms), all in one call; their ids."""
    put = await queue.enqueue_many(type_name, [{}] * len(many))
    claims = (await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(len(many))).claims
    burials = [
        burial(claim.job_id, claim.token, kind=kind, ended_at_ms=at_ms, keep_ms=keep_ms, type_name=type_name)
        for claim, (kind, at_ms) in zip(claims, many, strict=True)
    ]
    assert all(await Leases(redis, queue=QUEUE, worker="one", lease_s=10).finish(burials))
    return [one.job_id for one in put]


async def test_pages_go_from_the_newest_to_the_oldest_over_all_queues(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    died = []
    for number in range(4):
        died += await die(redis, run_worker, [{"number": number}], porous if number % 2 else fragile)
    assert await ids(dead) == died[::-1]
    assert [[job.queue for job in page] for page in await pages(dead, limit=3)] == [
        ["cpu", "default", "cpu"],
        ["default"],
    ]
    assert [job.args["number"] for page in await pages(dead, limit=1) for job in page] == [3, 2, 1, 0]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
@pytest.mark.parametrize("filter", [EVERY, DeadJobFilter(type="any"), DeadJobFilter(type="any", fingerprint="B")])
async def test_pages_hold_each_job_once_if_many_die_in_one_moment_too(
    redis: ArqRedis, queue: Queue, dead: DeadJobs, limit: int, filter: DeadJobFilter
) -> None:
    now_ms = (await redis.time())[0] * 1000
    kinds = ["A", "B", "B!", "C"]
    died = await bury(redis, queue, [(kinds[number % 4], now_ms + number // 8) for number in range(40)])
    expected = {job_id for number, job_id in enumerate(died) if filter.fingerprint in (None, kinds[number % 4])}
    found = await pages(dead, filter, limit=limit)
    listed = [job.id for page in found for job in page]
    assert len(listed) == len(set(listed)) and set(listed) == expected
    assert all(len(page) == limit for page in found[:-1])
    if filter.type is not None:
        times = [job.finished_at_ms or 0 for page in found for job in page]
        assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("filter", "numbers"),
    [
        (EVERY, [5, 4, 3, 2, 1, 0]),
        (DeadJobFilter(type="fragile"), [3, 2, 1, 0]),
        (DeadJobFilter(type="fragile", fingerprint=CUPS), [2, 0]),
        (DeadJobFilter(fingerprint=CUPS), [5, 4, 2, 0]),
        (DeadJobFilter(type="fragile", fingerprint=REFUSED), [3]),
        (DeadJobFilter(queue="cpu"), [5, 4]),
        (DeadJobFilter(queue="default", fingerprint=PLATES), [1]),
        (DeadJobFilter(type="fragil"), []),
        (DeadJobFilter(type="fragile", fingerprint=CUPS[:-1]), []),
    ],
)
async def test_filters_hold_exactly_what_they_name(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs, filter: DeadJobFilter, numbers: list[int]
) -> None:
    for number, how in enumerate(["drop", "miss", "drop", "fail"]):
        await die(redis, run_worker, [{"how": how, "number": number}])
    for number in (4, 5):
        await die(redis, run_worker, [{"number": number}], porous)
    assert [job.args["number"] for page in await pages(dead, filter) for job in page] == numbers


async def test_a_cursor_stays_where_it_is_while_others_die(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    for filter in (EVERY, DeadJobFilter(type="fragile")):
        await redis.flushall()
        died = await die(redis, run_worker, [{"number": number} for number in range(6)])
        first = await dead.page(filter, limit=3)
        await die(redis, run_worker, [{"how": "miss"}] * 3)
        second = await dead.page(filter, limit=3, before=first.next)
        assert {job.id for job in (*first.jobs, *second.jobs)} == set(died)
        assert second.next is None


async def test_a_cursor_outlives_the_job_it_points_to(redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs) -> None:
    for filter in (EVERY, DeadJobFilter(type="fragile"), DeadJobFilter(fingerprint=CUPS)):
        await redis.flushall()
        died = await die(redis, run_worker, [{"number": number} for number in range(4)])
        first = await dead.page(filter, limit=2)
        assert first.next is not None
        await dead.parts[0].remove(QUEUE, [first.next.entry])
        second = await dead.page(filter, limit=2, before=first.next)
        assert {job.id for job in (*first.jobs, *second.jobs)} == set(died)


async def test_an_expired_job_is_left_out_and_its_entry_removed(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    died = await die(redis, run_worker, [{"number": number} for number in range(30)])
    listed = await ids(dead)
    await redis.delete(*(keys.result(job_id) for job_id in listed[:25]))
    page = await dead.page(EVERY, limit=3)
    assert [job.id for job in page.jobs] == listed[25:28], "the page is filled with those behind"
    assert page.next is not None
    assert {entry.job_id for entry in await entries_of(redis)} <= set(listed[24:])
    assert len(died) == 30


async def test_a_page_looks_at_a_bounded_number_of_entries(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    await die(redis, run_worker, [{"number": number} for number in range(30)])
    oldest = (await ids(dead))[-1]
    async for key in results_of(redis):
        if key != keys.result(oldest):
            await redis.delete(key)
    first = await dead.page(EVERY, limit=1)
    assert first.jobs == [] and first.next is not None, "ten rounds, then the client is asked to go on"
    second = await dead.page(EVERY, limit=1, before=first.next)
    third = await dead.page(EVERY, limit=1, before=second.next)
    assert [job.id for job in (*second.jobs, *third.jobs)] == [oldest]


async def results_of(redis: ArqRedis) -> AsyncIterator[str]:
    async for key in redis.scan_iter(match=keys.result("*")):
        yield key.decode()


async def test_the_entry_of_a_job_that_ran_again_is_not_shown_and_is_removed(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue, dead: DeadJobs
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    await redis.delete(keys.result(job_id))
    await queue.enqueue("fragile", {"how": "hold"}, job_id=job_id)
    async with run_worker([fragile]):
        assert (await ended(redis, job_id)).status == "succeeded"
    assert await ids(dead) == []
    assert await entries_of(redis) == []


async def test_a_later_death_under_the_same_id_replaces_the_earlier(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue, dead: DeadJobs
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    await redis.delete(keys.result(job_id))
    await queue.enqueue("fragile", {"how": "miss"}, job_id=job_id)
    async with run_worker([fragile]):
        await ended(redis, job_id)
    assert await ids(dead) == [job_id]
    assert [entry.fingerprint for entry in await entries_of(redis)] == [PLATES]


async def test_a_result_that_cannot_be_read_hides_no_other(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    good, bad = [(await die(redis, run_worker, [{}]))[0] for _ in range(2)]
    await redis.set(keys.result(bad), b"\x80pickle")
    assert await ids(dead) == [good]


async def test_groups_count_by_type_and_fingerprint_the_largest_first(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    await die(redis, run_worker, [{"number": number} for number in range(5)])
    await die(redis, run_worker, [{"how": "miss"}] * 2)
    await die(redis, run_worker, [{}], brittle)
    newest = (await die(redis, run_worker, [{"number": 9}]))[0]
    await die(redis, run_worker, [{}] * 3, porous)
    groups = (await dead.groups(EVERY)).groups
    assert [shown(group) for group in groups] == [
        ("fragile", CUPS, 6),
        ("porous", CUPS, 3),
        ("fragile", PLATES, 2),
        ("brittle", CUPS, 1),
    ]
    assert [group.queue for group in groups] == [QUEUE, CPU, QUEUE, QUEUE]
    (first, *_) = await dead.with_examples(groups)
    assert first.example is not None and first.example.id == first.newest.job_id == newest
    assert first.example.error is not None and first.example.error.message == "cup 9"
    assert first.oldest.ended_at_ms <= first.newest.ended_at_ms
    for filter, expected in [
        (DeadJobFilter(type="fragile"), {CUPS: 6, PLATES: 2}),
        (DeadJobFilter(fingerprint=PLATES), {PLATES: 2}),
        (DeadJobFilter(type="brittle", fingerprint=PLATES), {}),
        (DeadJobFilter(queue="cpu"), {CUPS: 3}),
    ]:
        found = (await dead.groups(filter)).groups
        assert {group.newest.fingerprint: group.count for group in found} == expected


async def test_a_group_whose_jobs_have_expired_is_not_counted(redis: ArqRedis, queue: Queue) -> None:
    now_ms = (await redis.time())[0] * 1000
    await bury(redis, queue, [("Old", now_ms - 7_000_000), ("New", now_ms - 7_000_000), ("New", now_ms)])
    groups = (await DeadJobs(redis, queues=[QUEUE], ttl_s=3600).groups(EVERY)).groups
    assert [shown(group) for group in groups] == [("any", "New", 1)]


async def test_each_death_removes_some_of_the_oldest_entries_that_have_expired(redis: ArqRedis, queue: Queue) -> None:
    await bury(redis, queue, [("Old", 1)] * 10)
    await redis.zadd(keys.dead(QUEUE), {str(entry): 1 for entry in await entries_of(redis)})
    await bury(redis, queue, [("New", 2)] * 3)
    kinds = [entry.fingerprint for entry in await entries_of(redis)]
    assert (kinds.count("Old"), kinds.count("New")) == (4, 3), "two for each"


async def test_the_indexes_expire_with_the_last_result(redis: ArqRedis, queue: Queue) -> None:
    await bury(redis, queue, [("A", 1)], keep_ms=50_000)
    await bury(redis, queue, [("B", 1)], keep_ms=1_000)
    for index in (keys.dead(QUEUE), keys.dead_by_group(QUEUE)):
        assert 40_000 < await redis.pttl(index) <= 50_000


async def test_more_groups_than_are_looked_at_are_listed_and_found_all_the_same(
    redis: ArqRedis, queue: Queue, dead: DeadJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [f"E{number}" for number in range(6)]
    died = dict(zip(kinds, await bury(redis, queue, [(kind, 2_000_000_000_000) for kind in kinds]), strict=True))
    later = [("other", 2_000_000_000_000 + number) for number in range(3)]
    others = await bury(redis, queue, later, type_name="other")
    monkeypatch.setattr(dead_jobs, "MAX_GROUPS", 5)
    monkeypatch.setattr(dead_jobs, "ENTRIES_AT_ONCE", 2)
    any_type = DeadJobFilter(type="any")
    for filter in (EVERY, any_type):
        found = await dead.groups(filter)
        assert (len(found.groups), found.jobs, found.complete) == (5, 5, False)
    listed = await pages(dead, any_type, limit=4)
    assert sorted(job.id for page in listed for job in page) == sorted(died.values())
    assert max(map(len, listed)) == 4
    # a filter that matches few is not held up by the groups that do not match
    assert await ids(dead, DeadJobFilter(fingerprint="E5")) == [died["E5"]]
    assert await ids(dead, DeadJobFilter(fingerprint="other")) == others[::-1]


async def test_what_the_faults_are_about_is_a_filter_that_reads_nothing_of_others(
    redis: ArqRedis, queue: Queue, dead: DeadJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = (await redis.time())[0] * 1000
    kinds = ["E", "acme/E", "acme/F", "acme-2/E", "acme0/E", "acm/E", "acme"]
    died = dict(zip(kinds, await bury(redis, queue, [(kind, now_ms) for kind in kinds]), strict=True))
    monkeypatch.setattr(dead_jobs, "GROUPS_AT_ONCE", 2)
    about_acme = DeadJobFilter(type="any", about="acme")
    await dead.groups(EVERY)  # Redis knows the script from now on
    async with calls_of(redis) as calls:
        found = (await dead.groups(about_acme)).groups
    assert {group.newest.fingerprint: group.newest.about for group in found} == {"acme/E": "acme", "acme/F": "acme"}
    assert calls["evalsha"] == 3, "two looks at the two groups, and one at the other queue"
    for filter, expected in [
        (about_acme, {"acme/E", "acme/F"}),
        (DeadJobFilter(about="acme"), {"acme/E", "acme/F"}),
        (DeadJobFilter(about="acme", type="any", fingerprint="acme/F"), {"acme/F"}),
        (DeadJobFilter(about="acme", type="any", fingerprint="acm/E"), set()),
        (DeadJobFilter(type="any", fingerprint="E"), {"E"}),
        (DeadJobFilter(about="nobody"), set()),
    ]:
        assert {group.newest.fingerprint for group in (await dead.groups(filter)).groups} == expected
        assert set(await ids(dead, filter)) == {died[kind] for kind in expected}


async def test_many_groups_are_looked_at_in_short_calls_and_a_page_reads_the_newest_of_them(
    redis: ArqRedis, dead: DeadJobs
) -> None:
    """More than a thousand endpoints with dead deliveries, say."""
    now_ms = (await redis.time())[0] * 1000
    entries = [str(DeadEntry("any", f"e{number}/E", now_ms + number, str(number))) for number in range(1_200)]
    await redis.zadd(keys.dead_by_group(QUEUE), dict.fromkeys(entries, 0))
    await dead.groups(DeadJobFilter(about="nobody"))  # Redis knows the script from now on
    async with calls_of(redis) as calls:
        assert len((await dead.groups(EVERY)).groups) == 1_200
    assert calls["evalsha"] == 4, "three for 500 groups each, and one for the other queue"
    groups = [(QUEUE, DeadEntry.parse(entry).group) for entry in entries]
    before: DeadPosition | None = None
    for newest in (1_200, 1_195):
        listed = await dead.parts[0]._newest_of(groups, before=before, most=5)
        assert sorted((int(one.position.entry.split()[-1]) for one in listed), reverse=True) == [
            *range(newest - 1, newest - 6, -1)
        ]
        before = min(listed).position


async def test_thousands_are_listed_and_counted_by_few_small_calls(
    redis: ArqRedis, run_worker: RunWorker, dead: DeadJobs
) -> None:
    died = await die(redis, run_worker, [{"how": ("drop", "miss")[number % 2]} for number in range(2_000)])
    async with calls_of(redis) as calls:
        assert {shown(group) for group in (await dead.groups(EVERY)).groups} == {
            ("fragile", CUPS, 1_000),
            ("fragile", PLATES, 1_000),
        }
    assert calls["evalsha"] == 2, "one for each queue"
    async with calls_of(redis) as calls:
        await dead.page(EVERY, limit=100)
        await dead.page(DeadJobFilter(fingerprint=PLATES), limit=100)
    assert sum(calls.values()) < 20
    found = await pages(dead, limit=100)
    assert {len(page) for page in found} == {100}
    listed = [job.id for page in found for job in page]
    assert len(listed) == 2_000 and set(listed) == set(died)
    times = [job.finished_at_ms or 0 for page in found for job in page]
    # what one call has finished is of one moment, and in the order of its groups
    assert max(below - above for above, below in pairwise(times)) < 60_000


@asynccontextmanager
async def calls_of(redis: ArqRedis) -> AsyncIterator[dict[str, int]]:
    """Fills with the number of calls of each command that the block has made; those in scripts do not count twice."""
    before = await counted(redis)
    made: dict[str, int] = {}
    yield made
    for command, number in (await counted(redis)).items():
        if number > before.get(command, 0):
            made[command] = number - before.get(command, 0)


async def counted(redis: ArqRedis) -> dict[str, int]:
    stats = await redis.info("commandstats")
    names = ("evalsha", "mget", "zrevrangebyscore", "zrangebyscore", "zrevrangebylex", "zrangebylex", "zrem")
    return {name: int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in names}


@pytest.mark.parametrize("text", ["", "a b c", "a b c d", "a b 1"])
def test_other_texts_are_no_entries(text: str) -> None:
    with pytest.raises(ValueError):
        DeadEntry.parse(text)


def test_an_entry_keeps_an_id_with_spaces_and_its_order_is_that_of_time() -> None:
    early = DeadEntry.of("a b  c", "fax machine", Error("No Luck", "x"), ended_at_ms=999)
    assert DeadEntry.parse(str(early)) == early == DeadEntry("fax_machine", "No_Luck", 999, "a b  c")
    assert str(early) < str(DeadEntry.of("a", "fax machine", Error("No Luck", "x"), ended_at_ms=1_000))
    assert DeadPosition(1, "b") < DeadPosition(2, "a") < DeadPosition(2, "b")


async def test_deaths_are_counted_in_steps_from_the_first_one(redis: ArqRedis, dead: DeadJobs) -> None:
    """In one call for each queue, whatever dies meanwhile, and of its own group alone."""
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - dead_jobs.STEPS * 1000
    for queue, group, after_s in (
        *((QUEUE, "a", 0), (QUEUE, "a", 0.999), (QUEUE, "a", 1), (QUEUE, "a", 19.5), (QUEUE, "a", 21)),
        *((QUEUE, "ab", 2), (CPU, "a", 5)),
    ):
        entry = str(DeadEntry(group, "E@x:y", first_ms + int(after_s * 1000), f"job {after_s}"))
        await redis.zadd(keys.dead_by_group(queue), {entry: 0})
    groups = {(group.queue, group.newest.type): group for group in (await dead.groups(EVERY)).groups}
    chosen = [groups[CPU, "a"], groups[QUEUE, "a"], groups[QUEUE, "ab"]]
    alone, many, other = await dead.deaths(chosen, until_ms=now_ms)
    assert [sum(alone), sum(other), len(many)] == [1, 1, dead_jobs.STEPS]
    assert (many[0], many[1], many[-1], sum(many)) == (2, 1, 2, 5)
    assert await dead.deaths([], until_ms=now_ms) == []
