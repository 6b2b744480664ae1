"""Dead jobs of three partitions: groups are counted over all of them, pages merged, and all are replayed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.dead_jobs.dead_jobs import STEPS, DeadJobFilter, DeadJobs, DeadPosition
from errand.dead_jobs.replay import ReplayCutShort, Replays
from errand.redis.cluster.partitions import Partitions
from errand.redis.cluster.tag import Tag
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry
from errand.wire.job_id import new_job_id
from errand.wire.records import Error, JobFailed
from tests.monitor.test_timeline import QUEUE, House
from tests.redis_cluster import Cluster

EVERY = DeadJobFilter()


async def die(redis: ArqRedis, type_name: str, fault: str, *, at_ms: int) -> str:
    """The id of a job that has died there, as a worker's script leaves it."""
    job_id, error = new_job_id(), Error(fault, "x", fingerprint=f"{fault}@here")
    record = {"t": 1, "f": type_name, "a": [], "k": {}, "et": 1, "s": False, "r": JobFailed(error), "st": 1}
    entry = str(DeadEntry.of(job_id, type_name, error, ended_at_ms=at_ms))
    await redis.set(keys.result(job_id), codec.dumps({**record, "ft": at_ms, "q": QUEUE, "id": job_id, "attempts": []}))
    await redis.zadd(keys.dead(QUEUE), {entry: at_ms})
    await redis.zadd(keys.dead_by_group(QUEUE), {entry: 0})
    return job_id


@pytest.fixture
def dead(clients: Sequence[ArqRedis]) -> DeadJobs:
    return DeadJobs(*clients, queues=[QUEUE], ttl_s=3_600)


async def test_pages_hold_each_dead_job_once_and_groups_count_them_all(
    clients: Sequence[ArqRedis], dead: DeadJobs
) -> None:
    chance, now_ms = random.Random(7), await House(clients[0]).now_ms()
    died: dict[str, tuple[str, str, int]] = {}
    for _ in range(60):
        what = (chance.choice("ab"), chance.choice(("E", "F")), now_ms - chance.randint(0, 9))
        died[await die(chance.choice(clients), what[0], what[1], at_ms=what[2])] = what
    gone = next(iter(died))
    for redis in clients:
        await redis.delete(keys.result(gone))
    del died[gone]
    for filter, number in (
        (EVERY, 7),
        (DeadJobFilter(type="a"), 3),
        (DeadJobFilter(type="a", fingerprint="E@here"), 1),
    ):
        found: list[tuple[int, str]] = []
        before: DeadPosition | None = None
        while True:
            page = await dead.page(filter, limit=number, before=before)
            found += [(job.finished_at_ms or 0, job.id) for job in page.jobs]
            if (before := page.next) is None:
                break
        expected = [
            job_id
            for job_id, (type_name, fault, _) in died.items()
            if filter.type in (None, type_name) and filter.fingerprint in (None, f"{fault}@here")
        ]
        assert sorted(job_id for _, job_id in found) == sorted(expected)
        assert [at_ms for at_ms, _ in found] == sorted((at_ms for at_ms, _ in found), reverse=True)
    groups = await dead.with_examples((await dead.groups(EVERY)).groups)
    assert [group.count for group in groups] == sorted((group.count for group in groups), reverse=True)
    deaths = await dead.deaths(groups, until_ms=now_ms)
    for group, steps in zip(groups, deaths, strict=True):
        ids = {job_id: what for job_id, what in died.items() if group.name == f"{what[0]} {what[1]}@here"}
        assert group.count == len(ids) == sum(steps) and len(steps) == STEPS
        times = [at_ms for _, _, at_ms in ids.values()]
        assert (group.oldest.ended_at_ms, group.newest.ended_at_ms) == (min(times), max(times))
        assert group.example is not None and group.example.id in ids


async def test_a_replay_reaches_every_partition_at_one_pace(clients: Sequence[ArqRedis], dead: DeadJobs) -> None:
    now_ms = await House(clients[0]).now_ms()
    for redis in clients:
        for number in range(20):
            await die(redis, "a", "E", at_ms=now_ms - number)
    replays = Replays(dead)
    seen = await replays.preview(DeadJobFilter(type="a"), limit=50)
    assert (seen.count, len(seen.ids), seen.remaining) == (50, 10, 10)
    first = await replays.many(DeadJobFilter(type="a"), limit=50, per_second=1)
    assert (first.count, first.skipped, first.remaining, len(first.ids)) == (50, 0, 10, 10)
    assert 48_000 <= (first.last_due_at_ms or 0) - now_ms <= 120_000, "one a second in all, not in each partition"
    rest = await replays.many(DeadJobFilter(type="a"), limit=50)
    assert (rest.count, rest.remaining) == (10, 0) and not (await dead.groups(EVERY)).groups
    assert [await redis.zcard(QUEUE) for redis in clients] == [20, 20, 20]


async def test_one_job_is_replayed_in_whichever_partition_it_is(clients: Sequence[ArqRedis], dead: DeadJobs) -> None:
    replays = Replays(dead, partition_of=Partitions(clients).number_of)
    for redis in clients:
        job_id = await die(redis, "a", "E", at_ms=await House(redis).now_ms())
        assert await replays.one(job_id, queue=QUEUE) == "replayed" and await redis.zscore(QUEUE, job_id)
        assert await replays.one(job_id, queue=QUEUE) == "gone"


async def test_a_partition_that_is_away_cuts_a_replay_short(
    clients: Sequence[ArqRedis], dead: DeadJobs, cluster: Cluster
) -> None:
    for redis in clients:
        await die(redis, "a", "E", at_ms=await House(redis).now_ms())
    replays = Replays(dead, deadline_s=1)
    away = cluster.owner(Tag("errand", 1).slot)

    async def then_freeze(**arguments: Any) -> Any:
        answer = await put(**arguments)
        cluster.freeze(away)
        return answer

    put = replays.parts[0]._replay
    replays.parts[0]._replay = then_freeze  # type: ignore[assignment]  # a cut at a known moment
    try:
        with pytest.raises(ReplayCutShort, match="after 1 jobs"):
            await replays.many(DeadJobFilter(type="a"), limit=50)
    finally:
        cluster.thaw(away)
