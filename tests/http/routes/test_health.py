"""`/healthz` and `/readyz`: alive, and able to run what is accepted."""

from __future__ import annotations

import httpx
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import job
from errand.wire import keys
from tests.conftest import RunWorker
from tests.http.answers_seen import problem_of
from tests.waiting import eventually


class Nothing(BaseModel):
    pass


@job()
async def idle(ctx: Context, args: Nothing) -> None: ...


async def test_the_process_is_healthy_as_long_as_it_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_it_is_ready_while_a_worker_lives(client: httpx.AsyncClient, run_worker: RunWorker) -> None:
    answer = await client.get("/readyz")
    problem_of(answer, 503, "no-worker")
    assert int(answer.headers["retry-after"]) > 0

    async def ready() -> bool:
        return (await client.get("/readyz")).status_code == 200

    async with run_worker([idle]):
        await eventually(ready)
    problem_of(await client.get("/readyz"), 503, "no-worker")


async def test_a_worker_that_fell_silent_does_not_count(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    seconds, _ = await redis.time()
    await redis.zadd(keys.workers("arq:queue"), {"killed-last-minute": (seconds - 60) * 1000})
    problem_of(await client.get("/readyz"), 503, "no-worker")
