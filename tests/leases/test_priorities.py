"""Jobs of a higher priority start first, and those of the lowest are not starved."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker as StockWorker
from arq.worker import func
from pydantic import BaseModel

from errand import Client, Context, job
from errand.leases.leases import Finish, Leases
from errand.queue.queue import Queue
from errand.wire import codec, keys
from errand.wire.limits import JobLimits
from settings import Settings
from tests.conftest import OpenClient
from tests.leases.test_limits import call_type, claimed, finish, ids, worker_of

QUEUE = keys.queue("default")


class Nothing(BaseModel): ...


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def put(queue: Queue, *names: str, priority: int = 0, delay_ms: int = 0) -> None:
    for name in names:
        await queue.enqueue("call", {}, job_id=name, delay_ms=delay_ms, limits=JobLimits(priority=priority))


async def test_the_highest_starts_first_and_the_queue_is_arqs_own(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type())
    await put(queue, "low 1", "low 2")
    await put(queue, "high", priority=9)
    await put(queue, "middle", priority=5)
    scores = dict(await redis.zrange(QUEUE, 0, -1, withscores=True))
    assert scores[b"low 1"] <= scores[b"low 2"] <= scores[b"high"] <= scores[b"middle"], "scored by when they are due"
    claims = [claim for _ in range(4) for claim in await claimed(worker, 1)]
    assert ids(claims) == ["high", "middle", "low 1", "low 2"]
    await finish(worker, *claims)
    for lane in await redis.keys(f"{keys.lane(QUEUE, 1)[:-1]}*"):
        await redis.zadd(lane, dict.fromkeys(await redis.zrange(lane, 0, -1), 0))  # their leases would be over
    await claimed(worker)
    assert {key.decode() for key in await redis.keys("errand:*")} <= {keys.wake(QUEUE)}, "nothing is left of them"


async def test_one_start_in_ten_is_of_the_job_that_is_due_longest(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type())
    await put(queue, *(f"low {number}" for number in range(9)))
    await put(queue, *(f"high {number:03}" for number in range(100)), priority=1)
    started = [claim.job_id for _ in range(40) for claim in await claimed(worker, 1)]
    assert [job_id for job_id in started if job_id.startswith("low")] == ["low 0", "low 1", "low 2", "low 3"]
    assert len(await claimed(worker, 20)) == 20
    started = ids(await claimed(worker, 20))
    assert sum(job_id.startswith("low") for job_id in started) == 2


async def test_a_retry_and_a_deferred_job_keep_their_priority(redis: ArqRedis, queue: Queue) -> None:
    worker = worker_of(redis, call_type())
    await put(queue, "retried", priority=3)
    await put(queue, "later", priority=4, delay_ms=60_000)
    (first,) = await claimed(worker)
    again = Finish(job_id="retried", token=first.token, status="deferred", due_in_ms=1, attempt=b"{}")
    assert await worker.finish([again]) == [True]
    await put(queue, "low")
    lane, later = keys.lane(QUEUE, 3), keys.lane(QUEUE, 4)
    await redis.zadd(lane, {"retried": 1})  # as if its lease were over
    await redis.zadd(later, {"later": 1})
    await redis.zadd(QUEUE, {"retried": 5, "later": 6, "low": 1})
    assert ids(await claimed(worker, 1)) == ["later"]
    assert ids(await claimed(worker, 1)) == ["retried"]


@pytest.mark.parametrize(("longest", "reads"), [("args", 1), ("what follows them", 2)])
async def test_of_a_large_body_mostly_the_end_alone_is_looked_at(
    redis: ArqRedis, queue: Queue, longest: str, reads: int
) -> None:
    text = "x" * 5_000
    args = {"text": text if longest == "args" else "", "et": 1, "priority": 9}
    end = {"priority": 3, "more": "" if longest == "args" else text}
    await put(queue, "job", priority=1, delay_ms=60_000)
    await redis.set(keys.body("job"), codec.dumps({"t": None, "f": "call", "a": [], "k": args, "et": 7, **end}))
    await redis.config_resetstat()
    assert await queue.reschedule("job", delay_ms=30_000) == "rescheduled"
    assert (await redis.info("commandstats"))["cmdstat_get"]["calls"] == reads, "by the queue itself, and by the script"
    assert await redis.zscore(keys.lane(QUEUE, 3), "job") == await redis.zscore(QUEUE, "job")


async def test_it_is_given_by_type_by_option_and_by_request(
    redis: ArqRedis, redis_url: str, settings: Settings, open_client: OpenClient
) -> None:
    @job(priority=7)
    async def urgent(ctx: Context, args: Nothing) -> None: ...

    async def priority_of(job_id: str) -> object:
        body = await redis.get(keys.body(job_id))
        assert body is not None
        return codec.loads(body).get("priority")

    async with Client(settings, redis_url=redis_url):
        by_type = await urgent.enqueue()
        by_option = await urgent.options(priority=2).enqueue()
        (of_many,) = await urgent.enqueue_many([{}])
        lowest = await urgent.options(priority=0).enqueue()
    assert [await priority_of(each.id) for each in (by_type, by_option, of_many, lowest)] == [7, 2, 7, None]
    letter = {"to": "ada@example.com", "name": "Ada"}
    async with open_client() as client:
        answer = await client.post("/v1/jobs/welcome_email", json=letter, params={"priority": 4})
        batch = await client.post("/v1/jobs/welcome_email/batch", json=[letter], params={"priority": 5})
        refused = await client.post("/v1/jobs/welcome_email", json=letter, params={"priority": 10})
    assert [await priority_of(each) for each in (answer.json()["id"], *batch.json()["ids"])] == [4, 5]
    assert refused.status_code == 422


async def test_a_stock_worker_runs_jobs_with_a_priority(redis: ArqRedis, queue: Queue) -> None:
    async def call(ctx: object) -> None: ...

    await put(queue, "high", priority=9)
    stock = StockWorker(
        [func(call, name="call")],
        redis_pool=redis,
        burst=True,
        handle_signals=False,
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
    )
    await stock.async_run()
    assert stock.jobs_complete == 1
    await redis.zadd(keys.lane(QUEUE, 9), {"high": 1})
    ours = Leases(redis, queue=QUEUE, worker="a", lease_s=60)
    assert (await ours.claim(10)).claims == []
    assert await redis.exists(keys.lane(QUEUE, 9), keys.lanes(QUEUE)) == 0
