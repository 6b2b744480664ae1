"""Groups: one job runs when all have ended, with what they have returned; and jobs that wait for others."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import (
    OUTCOMES,
    PREVIOUS,
    RESULTS,
    Cancel,
    Chain,
    Client,
    Context,
    Fail,
    JobFailed,
    Signature,
    UnknownDependency,
    chain,
    group,
    job,
)
from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.wire import keys
from settings import Settings
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually

QUEUE = keys.queue("default")

FAULTY: set[int] = set()


class Number(BaseModel):
    """A number."""

    number: int


class Numbers(BaseModel):
    """What a group has returned."""

    numbers: list[int | None]


class Ends(BaseModel):
    """How a group has ended."""

    ends: list[dict[str, Any]]


@job(max_tries=1)
async def double(ctx: Context, args: Number) -> int:
    """Doubles a number."""
    if args.number in FAULTY:
        raise Fail("is odd")
    if args.number < 0:
        raise Cancel("is negative")
    if args.number > 100_000:
        await asyncio.Event().wait()
    return 2 * args.number


@job(max_tries=1)
async def add(ctx: Context, args: Numbers) -> int:
    """Adds what a group has returned."""
    return sum(number or 0 for number in args.numbers)


@job(max_tries=1)
async def look(ctx: Context, args: Ends) -> list[str]:
    """Says how a group has ended."""
    return [f"{end['status']} {end['error']['type'] if end['error'] else end['result']}" for end in args.ends]


@job(max_tries=1)
async def spread(ctx: Context, args: Number) -> str:
    """Has a group follow."""
    doubled = (double.s(number=number) for number in range(args.number))
    return ctx.add_task(group(*doubled, then=add.s(numbers=RESULTS))).id


JOBS = [double, add, look, spread]


@pytest.fixture
async def putting(redis_url: str, redis: ArqRedis, settings: Settings) -> Any:
    FAULTY.clear()
    async with Client(settings, redis_url=redis_url) as client:
        yield client


async def test_the_join_is_given_what_they_have_returned_in_their_order(
    putting: Client, redis: ArqRedis, run_worker: RunWorker
) -> None:
    long = chain(double.s(number=1), double.s(number=PREVIOUS), double.s(number=PREVIOUS))
    put = await group(double.s(number=5), long, double.s(number=7), then=look.s(ends=OUTCOMES)).enqueue()
    whole = await chain(
        double.s(number=1),
        group(double.s(number=PREVIOUS), double.s(number=10), then=add.s(numbers=RESULTS)),
        double.s(number=PREVIOUS),
    ).enqueue()
    async with run_worker(JOBS):
        assert await put.result(timeout_s=NEVER_S) == ["succeeded 10", "succeeded 8", "succeeded 14"]
        assert await whole.result(timeout_s=NEVER_S) == 48
    left = {key.decode() for key in await redis.keys("errand:need*")}
    assert left == set() and not await redis.exists(keys.needed(QUEUE))


async def test_one_that_fails_ends_the_join_or_not_as_it_was_asked(putting: Client, run_worker: RunWorker) -> None:
    FAULTY.add(3)
    broken = chain(double.s(number=3), double.s(number=PREVIOUS))
    children: list[Signature[int] | Chain[int]] = [double.s(number=3), double.s(number=-1), broken]
    strict = await group(*children, double.s(number=1), then=add.s(numbers=RESULTS)).enqueue()
    lax = await group(*children, then=look.s(ends=OUTCOMES), run_after="all_ended").enqueue()
    cancelled = await group(double.s(number=-1), then=add.s(numbers=RESULTS)).enqueue()
    async with run_worker(JOBS):
        with pytest.raises(JobFailed, match=r"DependencyFailed: job double .* failed: Fail: is odd"):
            await strict.result(timeout_s=NEVER_S)
        assert await lax.result(timeout_s=NEVER_S) == ["failed Fail", "cancelled Cancel", "failed Fail"]
        with pytest.raises(JobFailed, match="was cancelled: Cancel: is negative") as ended:
            await cancelled.result(timeout_s=NEVER_S)
        assert ended.value.cancelled


async def test_a_replay_of_the_job_that_failed_then_of_the_join_goes_on(
    putting: Client, redis: ArqRedis, run_worker: RunWorker
) -> None:
    FAULTY.add(3)
    handle = await group(chain(double.s(number=3), double.s(number=PREVIOUS)), then=add.s(numbers=RESULTS)).enqueue()
    replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=600))
    async with run_worker(JOBS):
        with pytest.raises(JobFailed):
            await handle.result(timeout_s=NEVER_S)
        ((entry, _),) = await redis.zrange(keys.children(handle.id), 0, -1, withscores=True)
        failed = entry.decode().split(" ")[1]
        FAULTY.clear()
        # the join first: it waits once more, for the job that is replayed then
        assert await replays.one(failed, queue=QUEUE) == "replayed"
        assert await replays.one(handle.id, queue=QUEUE) == "replayed"
        assert await handle.result(timeout_s=NEVER_S) == 12


async def test_a_job_may_have_one_follow_it(putting: Client, redis: ArqRedis, run_worker: RunWorker) -> None:
    put = await spread.enqueue(number=300)
    async with run_worker(JOBS):
        join_id = await put.result(timeout_s=NEVER_S)
        assert await putting.job(join_id).result(timeout_s=NEVER_S) == 299 * 300


async def test_what_it_waits_for_is_shown(putting: Client, client: httpx.AsyncClient, redis: ArqRedis) -> None:
    handle = await group(*(double.s(number=number) for number in range(3)), then=add.s(numbers=RESULTS)).enqueue()
    view = (await client.get(f"/v1/jobs/{handle.id}")).json()
    assert (view["status"], view["run_at"], view["waiting"]["code"]) == ("deferred", None, "dependency")
    assert view["waiting"]["detail"].startswith("Waits for the end of 3 of 3 jobs, such as ")
    assert (view["progress"]["fraction"], view["progress"]["note"]) == (0, "0 of 3 jobs have ended")
    assert "reschedule" not in view["links"]
    assert (await client.post(f"/v1/jobs/{handle.id}/reschedule?delay=1s")).status_code == 409
    page = (await client.get(view["links"]["children"], params={"limit": 2})).json()
    assert [(child["type"], child["status"]) for child in page["jobs"]] == [("double", "queued")] * 2
    assert {child["links"]["parent"] for child in page["jobs"]} == {f"/v1/jobs/{handle.id}"}
    (third,) = (await client.get(page["next"])).json()["jobs"]
    assert third["id"] not in {child["id"] for child in page["jobs"]}
    assert (await client.get(view["links"]["children"], params={"cursor": "x"})).status_code == 422
    # a parent that is forgotten leaves its children as they are
    await client.post(f"/v1/jobs/{handle.id}/cancel")
    assert (await client.delete(f"/v1/jobs/{handle.id}")).status_code == 204
    assert (await client.get(view["links"]["children"])).status_code == 404
    assert (await client.get(third["links"]["self"])).json()["links"]["parent"] == f"/v1/jobs/{handle.id}"
    left = {key.decode() for key in await redis.keys("errand:*") if handle.id.encode() in key}
    assert left == set()


async def test_a_cancel_of_the_join_reaches_those_that_wait_and_run(
    putting: Client, client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    inner = group(double.s(number=200_000), then=add.s(numbers=RESULTS))
    handle = await group(
        double.s(number=1),
        double.s(number=100_001),
        double.options(delay="1h").s(number=2),
        chain(double.s(number=100_002), double.s(number=PREVIOUS)),
        chain(double.s(number=1), inner),
        then=add.s(numbers=RESULTS),
    ).enqueue()

    async def children() -> dict[str, tuple[str, str]]:
        entries = [entry.decode().split(" ")[1] for entry in await redis.zrange(keys.children(handle.id), 0, -1)]
        views = [(await client.get(f"/v1/jobs/{child}")).json() for child in entries]
        return {view["id"]: (view["type"], view["status"]) for view in views}

    async def running() -> bool:
        found = list((await children()).values())
        return len(found) == 6 and sum(status == "in_progress" for _, status in found) == 2

    async def all_ended() -> bool:
        return all(status in ("succeeded", "cancelled") for _, status in (await children()).values())

    async with run_worker(JOBS):
        await eventually(running)
        assert (await client.post(f"/v1/jobs/{handle.id}/cancel")).json()["status"] == "cancelled"
        await eventually(all_ended)
        assert Counter((await children()).values()) == {
            ("double", "succeeded"): 2,
            ("double", "cancelled"): 3,
            ("add", "cancelled"): 1,
        }

        async def none_left() -> bool:
            return not await redis.exists(QUEUE)

        await eventually(none_left)


async def test_a_cancelled_group_puts_nothing_more_and_knows_it(
    putting: Client, redis: ArqRedis, run_worker: RunWorker
) -> None:
    """Of a chain whose first job succeeds before it hears of the cancel, whatever its next step is."""
    first, go_on = asyncio.Event(), asyncio.Event()

    @job()
    async def stubborn(ctx: Context, args: Number) -> int:
        first.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        return 1

    inner = group(double.s(number=PREVIOUS), then=add.s(numbers=RESULTS))
    handle = await group(
        chain(stubborn.s(number=1), double.s(number=PREVIOUS)),
        chain(stubborn.s(number=2), inner),
        then=look.s(ends=OUTCOMES),
        run_after="all_ended",
    ).enqueue()
    replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=600))
    async with run_worker([*JOBS, stubborn]) as worker:
        await asyncio.wait_for(first.wait(), NEVER_S)
        assert await handle.cancel() == "cancelled"
        go_on.set()

        async def none_left() -> bool:
            return not worker.tasks and not await redis.exists(QUEUE)

        await eventually(none_left)
        assert await redis.zcard(keys.children(handle.id)) == 2
        assert await replays.one(handle.id, queue=QUEUE) == "replayed"
        assert await handle.result(timeout_s=NEVER_S) == ["cancelled None"] * 2


async def test_a_replay_of_a_job_of_a_cancelled_group_goes_on_with_its_chain(
    putting: Client, redis: ArqRedis, run_worker: RunWorker
) -> None:
    handle = await group(chain(double.s(number=3), double.s(number=PREVIOUS)), then=add.s(numbers=RESULTS)).enqueue()
    ((entry, _),) = await redis.zrange(keys.children(handle.id), 0, -1, withscores=True)
    child = entry.decode().split(" ")[1]
    assert await handle.cancel() == "cancelled"
    replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=600))
    async with run_worker(JOBS):
        await eventually(lambda: exists(redis, keys.result(child)))
        assert await replays.one(child, queue=QUEUE) == "replayed"
        await eventually(lambda: exists(redis, keys.result(child)))
        assert await replays.one(handle.id, queue=QUEUE) == "replayed"
        assert await handle.result(timeout_s=NEVER_S) == 12


async def exists(redis: ArqRedis, key: str) -> bool:
    return bool(await redis.exists(key))


async def test_a_job_waits_for_those_that_it_depends_on(
    putting: Client, client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    FAULTY.add(3)
    first, bad = await double.enqueue(number=1), await double.enqueue(number=3)
    second = await double.options(depends_on=[first]).enqueue(number=2)
    third = await double.options(depends_on=[second.id, first]).enqueue(number=4)
    never = await double.options(depends_on=[third, bad]).enqueue(number=5)
    anyway = await double.options(depends_on=[never], run_after="all_ended", delay="1ms").enqueue(number=6)
    assert {await handle.status() for handle in (second, third, never, anyway)} == {"deferred"}
    async with run_worker(JOBS):
        assert [await handle.result(timeout_s=NEVER_S) for handle in (third, anyway)] == [8, 12]
        with pytest.raises(JobFailed, match="DependencyFailed"):
            await never.result(timeout_s=NEVER_S)
        # of those that have ended before it is known at once
        late = await double.options(depends_on=[first, second]).enqueue(number=7)
        assert await late.result(timeout_s=NEVER_S) == 14
        with pytest.raises(JobFailed, match="DependencyFailed"):
            await (await double.options(depends_on=[bad]).enqueue(number=8)).result(timeout_s=NEVER_S)
    with pytest.raises(UnknownDependency):
        await double.options(depends_on=["nobody"]).enqueue(number=9)


async def test_a_cancel_of_one_that_waits_ends_those_behind_it(
    putting: Client, redis: ArqRedis, run_worker: RunWorker
) -> None:
    first = await double.options(delay="1h").enqueue(number=1)
    second = await double.options(depends_on=[first]).enqueue(number=2)
    third = await double.options(depends_on=[second]).enqueue(number=3)
    assert await first.cancel() == "cancelled"
    async with run_worker(JOBS):
        with pytest.raises(JobFailed, match="was cancelled") as ended:
            await third.result(timeout_s=NEVER_S)
        assert ended.value.cancelled


async def test_over_http(client: httpx.AsyncClient) -> None:
    letter = {"to": "ada@example.com", "name": "Ada"}
    first = (await client.post("/v1/jobs/welcome_email", json=letter)).json()
    put = await client.post(f"/v1/jobs/welcome_email?depends_on={first['id']}", json=letter)
    second = put.json()
    assert (put.status_code, second["status"], second["run_at"]) == (202, "deferred", None)
    assert (await client.get(f"/v1/jobs/{second['id']}")).json()["waiting"]["code"] == "dependency"
    for query in ("depends_on=nobody", "run_after=all_ended", f"depends_on={first['id']}&unique_key=x"):
        refused = await client.post(f"/v1/jobs/welcome_email?{query}", json=letter)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "invalid-request"), query


def test_what_makes_no_sense_is_refused() -> None:
    one, join = double.s(number=1), add.s(numbers=RESULTS)
    for wrong in (
        lambda: group(then=join),
        lambda: group(one, then=double.s(number=PREVIOUS)),
        lambda: group(double.options(job_id="a").s(number=1), then=join),
        lambda: group(one, then=join, run_after="any"),  # type: ignore[arg-type]
        lambda: chain(one, double.s(number=RESULTS)),
        lambda: chain(one, double.options(job_id="a").s(number=1)),
        lambda: double.options(depends_on=["a"], unique_key="b"),
        lambda: double.options(depends_on="a"),
        lambda: double.options(run_after="all_ended"),
    ):
        with pytest.raises(ValueError):
            wrong()
