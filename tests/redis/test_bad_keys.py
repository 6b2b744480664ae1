"""What another program writes over keys in Redis costs at most the job whose key it was: no view, no queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand import Context, Fail, job
from errand.leases.leases import Leases
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.redis.repair import repair
from errand.wire import keys
from tests.conftest import OpenClient, running_worker
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

OF_A_JOB = (keys.body, keys.lease, keys.tries, keys.result, keys.progress, keys.put_back)
QUEUE = keys.queue("default")
HOOK = {"url": "https://h.example", "event": "e", "data": {}}
MAKERS = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x"),
    "set": ("SADD", "x"),
    "hash": ("HSET", "x", "y"),
    "zset": ("ZADD", "-inf", "x", "1", b"\xff y"),
    "stream": ("XADD", "*", "x", "y"),
}
"""By type: what makes a key of that type. If it is the right one, its content is garbage all the same."""


@job()
async def works(ctx: Context, args: Nothing) -> None: ...


@job(max_tries=1)
async def dies(ctx: Context, args: Nothing) -> None:
    raise Fail("no")


@job()
async def runs_on(ctx: Context, args: Nothing) -> None:
    await ctx.progress(0.5)
    await asyncio.Event().wait()


@dataclass
class House:
    """Jobs in every state, a schedule, a worker and the API."""

    redis: ArqRedis
    http: httpx.AsyncClient
    queue: Queue
    ids: dict[str, str]
    kept: dict[str, tuple[bytes, int]]
    """Every key, as `DUMP` gives it, and its time to live in ms."""

    @property
    def views(self) -> list[str]:
        lists = "jobs jobs?type=works jobs?status=deferred queues workers stats schedules schedules/s dead-jobs"
        return [
            *(
                f"/v1/{name}"
                for name in (*lists.split(), "dead-jobs/groups", *(f"jobs/{id_}" for id_ in self.ids.values()))
            ),
            *("/metrics", "/readyz"),
        ]

    @property
    def names(self) -> list[str]:
        """Every key that there is, and those that there may be."""
        of_jobs = [name(job_id) for job_id in self.ids.values() for name in (*OF_A_JOB, keys.attempts, keys.once)]
        # what all queues share is tried in `test_more_bad_keys.py`
        of_queue = {keys.ABORT, *keys.types(QUEUE).keys() - keys.types("another").keys()}
        return sorted({*self.kept, *of_queue, *of_jobs})

    async def restore(self) -> None:
        await self.redis.flushdb()
        async with self.redis.pipeline(transaction=True) as transaction:
            for name, (dump, ttl_ms) in self.kept.items():
                transaction.restore(name, max(ttl_ms, 0), dump, replace=True)
            await transaction.execute()


@pytest.fixture
async def house(redis: ArqRedis, redis_url: str, open_client: OpenClient) -> AsyncIterator[House]:
    queue = Queue(redis, ended_ttl_s=600)
    async with (
        open_client() as http,
        running_worker(redis_url, job_types=[works, dies, runs_on], lease_s=1, poll_delay=0.05),
    ):
        ids = {name: (await queue.enqueue(name, {})).job_id for name in ("works", "dies", "runs_on")}
        ids["later"] = (await queue.enqueue("webhook", HOOK, delay_ms=10_000_000)).job_id
        for name in ("works", "dies"):
            await ended(redis, ids[name])
        schedule = {"type": "webhook", "args": HOOK, "cron": "0 0 1 1 *", "timezone": "UTC"}
        assert (await http.put("/v1/schedules/s", json=schedule)).status_code == 201
        await eventually(lambda: redis.exists(keys.progress(ids["runs_on"]), keys.minutes(QUEUE)))
        names = [name.decode() for name in await redis.keys("*")]
        kept = {name: (await redis.dump(name), await redis.pttl(name)) for name in names}
        yield House(redis, http, queue, ids, {name: of for name, of in kept.items() if of[0]})


@pytest.mark.parametrize("turn", range(2))
async def test_a_key_of_any_name_and_type_stops_neither_view_nor_queue(
    house: House, turn: int, request: pytest.FixtureRequest
) -> None:
    """Each key is tried with two of the types; `--hypothesis-profile=long` tries all with all."""
    all_kinds = request.config.getoption("--hypothesis-profile") == "long"
    wrong: list[str] = []
    for number, name in enumerate(house.names):
        for shift, kind in enumerate(MAKERS):
            if all_kinds or (number + shift) % 6 == turn * 3:
                await house.restore()
                await put_over(house, name, kind)
                wrong += [f"{name} as {kind}: {fault}" for fault in await faults_of(house)]
    assert wrong == []


async def put_over(house: House, name: str, kind: str) -> None:
    command, *content = MAKERS[kind]
    # at once: the worker writes some of these keys, too
    async with house.redis.pipeline(transaction=True) as transaction:
        transaction.delete(name)
        transaction.execute_command(command, name, *content)
        await transaction.execute()
    if name == keys.paused(QUEUE):
        # a pause is whatever lies there: it is shown, and ended as any other
        assert (await house.http.get("/v1/queues")).json()[0]["paused"]
        assert (await house.http.post("/v1/queues/default/resume")).status_code == 200


async def test_what_was_bad_is_said(house: House) -> None:
    await put_over(house, keys.reports(QUEUE), "list")
    await house.redis.execute_command("HSET", keys.counters(QUEUE), "attempts:succeeded", "many")  # type: ignore[no-untyped-call]
    with capture_logs() as lines:
        await repair(house.redis, QUEUE)
    said = {(line.get("key"), line.get("was")) for line in lines if line["log_level"] == "error"}
    # the worker may come by first
    assert said <= {(keys.reports(QUEUE), "list"), (keys.counters(QUEUE), "field attempts:succeeded")}


async def test_a_lease_of_a_wrong_type_costs_its_job_an_attempt_and_no_other_one(house: House) -> None:
    await put_over(house, keys.lease(house.ids["runs_on"]), "list")
    await runs(house)
    job = await read_job(house.redis, house.ids["runs_on"])
    assert job is not None and not job.ended


async def test_a_history_of_a_wrong_type_makes_no_call_fail_that_has_written(redis: ArqRedis) -> None:
    """Made a second time, the call would find its own jobs, or leases, and take them for another's."""
    await redis.set(keys.watched(QUEUE), "0-0")
    await redis.set(keys.history(QUEUE), "x")
    put = await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id="a")
    await redis.set(keys.history(QUEUE), "x")
    claims = (await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)).claims
    assert [claim.job_id for claim in claims] == [put.job_id]
    assert await redis.xlen(keys.history(QUEUE)) == 1, "it goes on from here"


async def faults_of(house: House) -> list[str]:
    """What does not work."""
    faults = []
    for view in house.views:
        status = (await house.http.get(view)).status_code
        if status >= 500 and (view, status) != ("/readyz", 503):
            faults.append(f"{view} is {status}")
    accepted = await house.http.post("/v1/jobs/webhook?delay=1h", json=HOOK)
    if accepted.status_code != 202:
        faults.append(f"a POST is {accepted.status_code}")
    try:
        await runs(house)
    except Exception as error:  # noqa: BLE001  # any is a fault
        faults.append(f"a job does not run: {error!r}")
    return faults


async def runs(house: House) -> None:
    """The next job is put and run."""
    put = await house.queue.enqueue("works", {})

    async def has_ended() -> bool:
        job = await read_job(house.redis, put.job_id)
        return job is not None and job.ended

    await eventually(has_ended)
