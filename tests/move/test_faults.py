"""A move whose ends fail: nothing is removed before the other side has it, wherever it stops, or put meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ResponseError

from errand.job.context import Context
from errand.job.job_type import job
from errand.leases.leases import Leases
from errand.move import confirmed, to_redis, values
from errand.move.to_redis import Move, MoveRefused, Server
from errand.queue.queue import Queue
from errand.redis.connection import Refused, check_welcome
from errand.redis.outage import is_outage
from errand.wire import keys
from errand.wire.move_record import MoveRecord
from tests.conftest import running_worker
from tests.move.test_to_redis import contents, ends
from tests.servers import client_of, replica_of, serving
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing


async def fill(redis: ArqRedis) -> dict[bytes, object]:
    """A key of each type; returns all that is there."""
    await redis.flushdb()
    await redis.set("arq:job:a", "x", px=3_600_000)
    await redis.zadd("arq:queue", {"a": 1_700_000_000_000})
    await redis.hset("errand:arq:queue:counters", "n", "1")  # type: ignore[misc]  # redis-py: async or not
    await redis.rpush("errand:attempts:a", "1", "2")  # type: ignore[misc]
    await redis.xadd("errand:audit:changed", {"entry": "1"})
    return await contents(redis)


@asynccontextmanager
async def both(redis_url: str, target_url: str) -> AsyncIterator[tuple[Server, Server]]:
    async with ends(redis_url, target_url) as (source, target):
        yield Server(redis=source, shown="redis://old"), Server(redis=target, shown="redis://new")


class Killed(BaseException):
    """As a kill is, nothing handles it."""


def dying(patch: pytest.MonkeyPatch, *clients: ArqRedis) -> Callable[[int], None]:
    """Call what it returns with a number: before so many calls to Redis more, whatever makes them is killed."""
    left = -1

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return await call(*args, **options)

        return called

    ask = counted(values.ask)
    for module in (to_redis, values, confirmed):
        patch.setattr(module, "ask", ask)
    for client in clients:
        patch.setattr(client, "execute_command", counted(client.execute_command))

    def after(calls: int) -> None:
        nonlocal left
        left = calls

    return after


async def test_killed_before_any_of_its_calls_and_run_again_it_brings_all(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.aclose()
    kills = 0
    async with serving() as server, both(redis_url, server.url) as (source, target):
        while True:
            before = await fill(source.redis)
            await target.redis.flushdb()
            with monkeypatch.context() as patch:
                dying(patch, source.redis, target.redis)(kills)
                try:
                    await Move(source, target, say=lambda line: None).run()
                    break
                except Killed:
                    kills += 1
            left = await contents(source.redis)
            assert before.keys() <= left.keys() | (await contents(target.redis)).keys()
            await Move(source, target, say=lambda line: None).run()
            assert await contents(target.redis) == before, kills
            assert await source.redis.keys("*") == [keys.MOVE.encode()]
            await check_welcome(target.redis)
    assert kills > 40


async def test_what_the_target_has_lost_before_the_end_is_copied_again(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failover does to a replica that was behind, after all was compared."""
    await redis.aclose()
    async with serving() as server, both(redis_url, server.url) as (source, target):
        before = await fill(source.redis)
        move = Move(source, target, say=lambda line: None)
        confirm = move._source_keeps.confirm

        async def fails_over(record: MoveRecord) -> None:
            await confirm(record)
            await target.redis.delete("arq:job:a", "arq:queue")
            await target.redis.rpush("errand:attempts:a", "of a move before")  # type: ignore[misc]

        monkeypatch.setattr(move._source_keeps, "confirm", fails_over)
        await move.run()
        assert await contents(target.redis) == before


async def test_a_target_that_became_another_server_while_it_confirmed_is_compared_anew_before_the_jobs_are_its(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.aclose()
    async with serving() as server, both(redis_url, server.url) as (source, target):
        before = await fill(source.redis)
        move = Move(source, target, say=lambda line: None)
        confirm, hand_over = move._target_keeps.confirm, move._source_keeps.confirm
        at_the_end: list[dict[bytes, object]] = []
        has_failed_over = False

        async def of_another(asked: ArqRedis) -> str:
            return "another"

        async def fails_over(record: MoveRecord) -> None:
            nonlocal has_failed_over
            await confirm(record)
            if not has_failed_over:
                has_failed_over = True
                monkeypatch.setattr(to_redis, "run_id_of", of_another)
                await target.redis.delete("arq:job:a")

        async def look(record: MoveRecord) -> None:
            at_the_end.append(await contents(target.redis))
            await hand_over(record)

        monkeypatch.setattr(move._target_keeps, "confirm", fails_over)
        monkeypatch.setattr(move._source_keeps, "confirm", look)
        await move.run()
    assert at_the_end[0].keys() >= before.keys()


async def test_nothing_is_removed_before_the_targets_replicas_have_it(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmed, "WAIT_MS", 100)
    await redis.aclose()
    async with (
        serving() as primary,
        replica_of(primary) as replica,
        client_of(replica) as of_replica,
        both(redis_url, primary.url) as (source, target),
    ):
        before = await fill(source.redis)
        replica.freeze()
        with pytest.raises(MoveRefused, match="redis://new: 0 of its 1 replicas have all of it"):
            await Move(source, target, say=lambda line: None).run()
        with pytest.raises(Refused, match="are being moved to"):
            await check_welcome(source.redis)
        assert before.keys() < (await contents(source.redis)).keys()
        replica.thaw()
        await Move(source, target, say=lambda line: None).run()
        primary.kill()
        await of_replica.replicaof("NO", "ONE")
        assert {**before, keys.MOVE.encode(): None}.keys() >= (await contents(of_replica)).keys() >= before.keys()


async def test_while_it_is_moved_nothing_is_put_or_claimed_by_those_that_run_already(
    redis: ArqRedis, redis_url: str
) -> None:
    @job()
    async def works(ctx: Context, args: Nothing) -> None: ...

    queue = Queue(redis, ended_ttl_s=60)
    put = await queue.enqueue("works", {})
    for record in (b"another program's", b"{}"):
        await redis.set(keys.MOVE, record)
        await queue.enqueue("later", {}, delay_ms=60_000)
    await redis.set(keys.MOVE, MoveRecord("a", "moved", "redis://new").dumps())
    with pytest.raises(ResponseError, match=r"^ERRANDMOVE the jobs of this Redis are moved") as refused:
        await queue.enqueue("works", {})
    assert is_outage(refused.value), "answered by 503, or waited for"
    with pytest.raises(ResponseError, match=r"^ERRANDMOVE"):
        await Leases(redis, queue=queue.key, worker="a", lease_s=60).claim(1)
    async with running_worker(redis_url, job_types=[works], poll_delay=0.1) as worker:

        async def waits() -> bool:
            return worker._outage.lasts

        await eventually(waits)
        await redis.delete(keys.MOVE)
        assert (await ended(redis, put.job_id)).status == "succeeded"


async def test_what_expires_while_it_is_copied_does_not_stay_for_ever(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = values.ask

    async def late(asked: ArqRedis, calls: Sequence[values.Call]) -> list[Any]:
        if calls and calls[0][0] == "PTTL":
            await asked.delete(*(key for _, key in calls))
        return await ask(asked, calls)

    monkeypatch.setattr(values, "ask", late)
    async with serving() as server, both(redis_url, server.url) as (source, target):
        await fill(source.redis)
        await values.copy_strings(source.redis, target.redis, [b"arq:job:a"])
        await values.copy_collection(source.redis, target.redis, b"arq:queue", b"zset")
        assert await target.redis.keys("*") == []
