"""One installation in three partitions, each on a master of its own: what is promised holds as on one server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import PREVIOUS, RESULTS, Client, Context, NotUnique, chain, group, job
from errand.integration.add_task import put_together
from errand.integration.lifespan import opened as app_opened
from errand.job.catalog import Catalog
from errand.process.worker import serving
from errand.queue.idempotency import Idempotency, KeyReused
from errand.queue.new_job import DividedDependencies
from errand.queue.partitioned import PartitionedQueue
from errand.queue.queue import Queue
from errand.queue.uniqueness import Unique
from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.cluster.tag import Tag
from errand.wire import keys
from errand.wire.job_id import new_job_id, new_job_ids
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.redis_cluster import Cluster
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker_engine import holds

NUMBER = 3


class Number(BaseModel):
    number: int = 0


class Numbers(BaseModel):
    numbers: list[int] = []


running: Counter[str] = Counter()
most: Counter[str] = Counter()


@job()
async def double(ctx: Context, args: Number) -> int:
    return 2 * args.number


@job()
async def total(ctx: Context, many: Numbers) -> int:
    return sum(many.numbers)


@job()
async def fans_out(ctx: Context, args: Number) -> None:
    ctx.add_task(double, number=args.number)


@job(concurrency=2)
async def limited(ctx: Context, args: Number) -> None:
    running["limited"] += 1
    most["limited"] = max(most["limited"], running["limited"])
    await asyncio.sleep(0.05)  # others begin meanwhile, as many as may
    running["limited"] -= 1


@job()
async def lasting(ctx: Context, args: Number) -> None:
    running["lasting"] += 1
    await let_go.wait()


let_go = asyncio.Event()


TYPES = Catalog([double, total, fans_out, limited, lasting])


@pytest.fixture
def settings(tmp_path: Path, redis: ArqRedis, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, queue_partitions=NUMBER)


@pytest.fixture
async def found(settings: Settings, redis_url: str, cluster: Cluster) -> AsyncIterator[Partitions]:
    async with partitions.opened(redis_url, number=NUMBER, reply_timeout_s=NEVER_S) as found:
        for client in found.clients:
            await client.flushall()
        yield found


@asynccontextmanager
async def workers_of(found: Partitions, settings: Settings, redis_url: str, slots: int = 20) -> AsyncIterator[None]:
    async with serving(found, {"default": slots}, settings, TYPES, {}, redis_url=redis_url) as workers:
        tasks = [asyncio.create_task(worker.async_run()) for worker in workers]
        try:
            yield
        finally:
            await asyncio.gather(*(worker.close() for worker in workers))
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def workers(found: Partitions, settings: Settings, redis_url: str) -> AsyncIterator[None]:
    async with workers_of(found, settings, redis_url):
        yield


@pytest.fixture
async def client(found: Partitions, settings: Settings) -> AsyncIterator[Client]:
    async with Client(settings) as opened:
        yield opened


async def where(found: Partitions, job_id: str) -> int:
    """The number of the partition that has the job."""
    return found.clients.index(await found.having(job_id))


def ids_in(found: Partitions, number: int, how_many: int) -> list[str]:
    """So many ids that belong to that partition."""
    return [job_id for job_id in new_job_ids(40 * how_many) if found.number_of(job_id) == number][:how_many]


async def test_jobs_are_spread_over_all_masters_and_one_worker_process_runs_them(
    cluster: Cluster, found: Partitions, client: Client, workers: None
) -> None:
    masters = {cluster.owner(Tag("errand", number).slot).server.place for number in range(NUMBER)}
    assert len(masters) == NUMBER
    jobs = [await double.enqueue(number=number) for number in range(30)]
    assert [await job.result(timeout_s=NEVER_S) for job in jobs] == [2 * number for number in range(30)]
    of_partitions = Counter([await where(found, job.id) for job in jobs])
    assert len(of_partitions) == NUMBER
    # each is where its id says, so that one look finds it
    assert all([await found.of(job.id).exists(keys.result(job.id)) for job in jobs])


async def test_what_is_put_together_lies_together(found: Partitions, client: Client, workers: None) -> None:
    batch = await double.enqueue_many([{"number": number} for number in range(50)])
    assert len({await where(found, job.id) for job in batch}) == 1
    assert all(found.number_of(job.id) == found.number_of(batch[0].id) for job in batch)
    assert [await job.result(timeout_s=NEVER_S) for job in batch] == [2 * number for number in range(50)]
    for _ in range(NUMBER):
        steps = await chain(double.s(number=1), double.s(number=PREVIOUS), double.s(number=PREVIOUS)).enqueue()
        assert await steps.result(timeout_s=NEVER_S) == 8
        joined = await group(*(double.s(number=n) for n in range(4)), then=total.s(numbers=RESULTS)).enqueue()
        assert await joined.result(timeout_s=NEVER_S) == 12


async def test_jobs_of_one_request_are_put_all_or_none(found: Partitions, settings: Settings, client: Client) -> None:
    async with app_opened(settings, TYPES) as app:
        async with put_together(app) as jobs:
            added = [jobs.add_task(double, number=number) for number in range(9)]
        assert len({await where(found, one.id) for one in added}) == 1
        async with put_together(app) as jobs:
            added = [jobs.add_task(double), jobs.add_task(limited), jobs.add_task(double)]
        assert {await where(found, one.id) for one in added} == {0}


async def test_keys_hold_wherever_ids_belong(found: Partitions, settings: Settings, client: Client) -> None:
    async with app_opened(settings, TYPES) as app:
        queue = app.queues["default"]
        assert isinstance(queue, PartitionedQueue)
        for number in range(6):
            key = Idempotency(key=f"key-{number}", fingerprint="f", ttl_s=60)
            first = await queue.enqueue("double", {"number": 1}, idempotency=key)
            again = await queue.enqueue("double", {"number": 1}, idempotency=key)
            assert again.replayed and again.job_id == first.job_id
            with pytest.raises(KeyReused):
                await queue.enqueue(
                    "double",
                    {"number": 2},
                    idempotency=Idempotency(key=f"key-{number}", fingerprint="other", ttl_s=60),
                    unique=Unique(key=f"u-{number}"),
                )
            key = Idempotency(key=f"other-{number}", fingerprint="f", ttl_s=60)
            held = await queue.enqueue("double", {}, idempotency=key, unique=Unique(key=f"v-{number}"), delay_ms=60_000)
            with pytest.raises(KeyReused):
                await queue.enqueue("double", {}, idempotency=replace(key, fingerprint="other"))
            assert (await queue.enqueue("double", {}, idempotency=key)).job_id == held.job_id
            waiting = await double.options(unique_key=f"user-{number}", delay="1h").enqueue(number=1)
            with pytest.raises(NotUnique):
                await double.options(unique_key=f"user-{number}", on_conflict="reject").enqueue(number=1)
            other = await double.options(unique_key=f"user-{number}", on_conflict="replace").enqueue(number=2)
            assert (await waiting.status(), other.existing) == ("cancelled", False)
            named = await double.options(job_id=f"order-{number}", delay="1h").enqueue(number=1)
            assert (await double.options(job_id=f"order-{number}").enqueue(number=1)).existing and not named.existing


async def test_a_limit_counts_the_jobs_of_all_partitions(found: Partitions, client: Client, workers: None) -> None:
    most.clear()
    jobs = [await limited.enqueue() for _ in range(12)]
    ended = await chain(double.s(number=1), limited.s(number=PREVIOUS)).enqueue()
    for handle in jobs:
        await handle.result(timeout_s=NEVER_S)
    await ended.result(timeout_s=NEVER_S)
    assert {await where(found, job_id) for job_id in (ended.id, *(job.id for job in jobs))} == {0}
    assert most["limited"] == 2


async def test_a_job_is_found_by_its_id_wherever_it_lies(found: Partitions, client: Client) -> None:
    queue = keys.queue("default")
    stray = [new_job_id() for _ in range(4)]
    later = await double.options(delay="1h", unique_key="u").enqueue()
    for job_id in (*stray, later.id):
        handle = client.job(job_id, double)
        if job_id != later.id:
            # as a follow-up of a job in another partition lies
            elsewhere = found.clients[(found.number_of(job_id) + 1) % NUMBER]
            await Queue(elsewhere, ended_ttl_s=60).enqueue("double", {}, job_id=job_id, delay_ms=3_600_000)
        assert await handle.status() == "deferred"
        assert await handle.cancel() == "cancelled"
        assert await handle.status() == "cancelled"
    assert [await client.zcard(queue) for client in found.clients] == [0, 0, 0]
    with pytest.raises(LookupError):
        await client.job(new_job_id(), double).status()


async def test_what_waits_for_another_lies_with_it(found: Partitions, client: Client, workers: None) -> None:
    for number in range(4):
        first = await double.options(delay="1h").enqueue(number=number)
        second = await double.options(depends_on=[first]).enqueue(number=number)
        assert await where(found, first.id) == await where(found, second.id)
        await first.cancel()
    several = [await double.options(delay="1h").enqueue() for _ in range(20)]
    with pytest.raises(DividedDependencies, match="put them as a group"):
        await double.options(depends_on=several).enqueue()


async def test_the_number_may_grow_and_shrink_while_there_are_jobs(
    found: Partitions, settings: Settings, redis_url: str
) -> None:
    async with Client(settings) as client:
        # so many that they hardly ever leave one partition out
        old = [await double.options(delay=0.5).enqueue(number=number) for number in range(40)]
        assert len({await where(found, job.id) for job in old}) == NUMBER
    for number in (5, 1):
        resized = settings.model_copy(update={"queue_partitions": number})
        async with Client(resized) as client, partitions.opened(redis_url, number=number, reply_timeout_s=9) as now:
            assert (now.number, len(now)) == (number, 5)
            old += [await double.options(delay=0.5).enqueue(number=number) for number in range(12)]
            assert {await client.job(job.id, double).status() for job in old} <= {"deferred", "queued"}
    async with (
        Client(resized) as client,
        partitions.opened(redis_url, number=1, reply_timeout_s=9) as now,
        workers_of(now, resized, redis_url),
    ):
        for handle in old:
            assert await client.job(handle.id, double).result(timeout_s=NEVER_S) is not None


async def test_keys_and_ids_hold_when_the_number_changes(found: Partitions, settings: Settings) -> None:
    queue_key, put = keys.queue("default"), 8

    async def stand_for_themselves(number: int) -> int:
        """Puts jobs with keys and ids, once more if they are there; how many are there in all."""
        resized = settings.model_copy(update={"queue_partitions": number})
        async with app_opened(resized, TYPES) as app, Client(resized):
            for each in range(put):
                key = Idempotency(key=f"k-{each}", fingerprint="f", ttl_s=60)
                await app.queues["default"].enqueue("double", {}, idempotency=key, delay_ms=3_600_000)
                many = Idempotency(key=f"many-{each}", fingerprint="f", ttl_s=60)
                await app.queues["default"].enqueue_many("double", [{}], idempotency=many, delay_ms=3_600_000)
                await double.options(delay="1h", unique_key=f"u-{each}").enqueue()
                await double.options(delay="1h", job_id=f"id-{each}").enqueue()
                async with put_together(app) as jobs:
                    jobs.with_options(debounce="1h", debounce_key="{number}").add_task(double, number=each)
                    jobs.with_options(delay="1h", job_id=f"app-{each}").add_task(double)
        return sum([await client.zcard(queue_key) for client in found.clients])

    assert [await stand_for_themselves(number) for number in (1, 3, 2, 1)] == [6 * put] * 4


async def test_an_id_of_ones_own_is_one_job_whatever_is_put_with_it(found: Partitions, settings: Settings) -> None:
    async with app_opened(settings, TYPES) as app:
        for number in range(6):
            for _ in range(2):
                async with put_together(app) as jobs:
                    jobs.with_options(delay="1h").add_task(double)
                    jobs.with_options(delay="1h", job_id=f"order-{number}").add_task(double)
            there = [await client.exists(keys.body(f"order-{number}")) for client in found.clients]
            assert sum(there) == 1


async def test_a_partition_alone_may_use_all_slots_but_those_kept_for_others(
    found: Partitions, client: Client, settings: Settings, redis_url: str
) -> None:
    running.clear()
    let_go.clear()
    async with workers_of(found, settings, redis_url, slots=24):
        held = [await lasting.options(job_id=job_id).enqueue() for job_id in ids_in(found, 0, 30)]
        await eventually(holds(lambda: running["lasting"] == 20))
        for number in (1, 2):
            put = [await double.options(job_id=job_id).enqueue(number=1) for job_id in ids_in(found, number, 5)]
            assert [await job.result(timeout_s=NEVER_S) for job in put] == [2] * 5
        assert running["lasting"] == 20
        let_go.set()
        for job in held:
            await job.result(timeout_s=NEVER_S)


async def test_a_follow_up_runs_where_the_job_before_it_did(found: Partitions, client: Client, workers: None) -> None:
    before, after = (keys.ended_index(keys.queue("default"), f"succeeded:{name}") for name in ("fans_out", "double"))
    for number in range(6):
        await (await fans_out.enqueue(number=number)).result(timeout_s=NEVER_S)
    of_before = [await client.zcard(before) for client in found.clients]
    assert sum(of_before) == 6

    async def followed() -> bool:
        return [await client.zcard(after) for client in found.clients] == of_before

    await eventually(followed)


async def test_the_api_puts_and_finds_jobs_in_all_partitions(
    open_client: OpenClient, settings: Settings, found: Partitions, redis_url: str
) -> None:
    settings = settings.model_copy(update={"job_packages": (__name__,)})
    async with open_client(settings) as http:
        for number in range(6):
            key = {"Idempotency-Key": f"key-{number}"}
            put = await http.post("/v1/jobs/double?delay=1h", json={"number": number}, headers=key)
            again = await http.post("/v1/jobs/double?delay=1h", json={"number": number}, headers=key)
            assert put.status_code == 202 and put.json()["id"] == again.json()["id"], put.text
            assert again.headers["idempotency-replayed"] == "true"
            path = f"/v1/jobs/{put.json()['id']}"
            assert (await http.get(path)).json()["waiting"]["code"] == "delayed"
            assert (await http.post(f"{path}/reschedule?delay=2h")).status_code == 200
            assert (await http.post(f"{path}/cancel")).json()["status"] == "cancelled"
            assert (await http.post(f"{path}/retry")).json()["status"] == "queued"
        batch = (await http.post("/v1/jobs/double/batch", json=[{"number": 1}] * 5)).json()["ids"]
        waiting = [(await http.post("/v1/jobs/double?delay=1h", json={})).json()["id"] for _ in range(12)]
        refused = await http.post(f"/v1/jobs/double?depends_on={','.join(waiting)}", json={})
        assert refused.status_code == 422 and "put them as a group" in refused.text
        async with workers_of(found, settings, redis_url):
            for job_id in batch:
                done = await http.get(f"/v1/jobs/{job_id}?wait=60")
                assert done.json()["result"] == 2
            assert (await http.delete(f"/v1/jobs/{batch[0]}")).status_code == 204
        assert (await http.get(f"/v1/jobs/{batch[0]}")).status_code == 404
