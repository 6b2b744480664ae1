"""A move to another Redis, of another make and version: all of it arrives, whenever it is killed, and once."""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis as sync_redis
from arq.connections import ArqRedis

from errand.move.to_redis import Move, MoveRefused, Server, new_client_name
from errand.redis.connection import Refused, check_welcome, connect
from errand.redis.embedded import socket_path
from errand.wire import keys
from tests.processes.conftest import House, new_house  # noqa: F401  # a fixture
from tests.servers import MAKES, serving
from tests.waiting import NEVER_S, eventually_sync

LETTER = {"to": "ada@example.com", "name": "Ada"}
JOBS = 10_000
MEBIBYTE = 1024 * 1024


@asynccontextmanager
async def ends(source_url: str, target_url: str) -> AsyncIterator[tuple[ArqRedis, ArqRedis]]:
    source = connect(source_url, reply_timeout_s=NEVER_S, name=new_client_name())
    target = connect(target_url, reply_timeout_s=NEVER_S, name=new_client_name())
    try:
        yield source, target
    finally:
        await source.aclose()
        await target.aclose()


async def contents(redis: ArqRedis) -> dict[bytes, object]:
    """What each key holds, and whether it expires."""
    readers: dict[bytes, Callable[[Any], Any]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": redis.xrange,
    }
    found: dict[bytes, object] = {}
    for key in await redis.keys("*"):
        value = await readers[await redis.type(key)](key)
        found[key] = (value, await redis.pttl(key) > 0)
    return found


async def fill(redis: ArqRedis) -> None:
    """A key of each type, small and of several parts, with bytes that are no text."""
    await redis.set("arq:job:a", b"\x80\x00\xff")
    await redis.set("arq:result:b", b"{}", px=3_600_000)
    await redis.zadd("arq:queue", {f"job-{number}": 1_700_000_000_000.25 + number for number in range(2_500)})
    long = {f"n{number}": str(number) * 20 for number in range(2_500)}
    await redis.hset("errand:arq:queue:counters", mapping=long)  # type: ignore[misc]  # redis-py: async or not
    await redis.rpush("errand:attempts:a", *(f"{number}" for number in range(2_500)))  # type: ignore[misc]
    await redis.sadd("errand:arq:queue:ended", b"\xfe", *(f"{number}" for number in range(2_500)))  # type: ignore[misc]
    for number in range(30):
        await redis.xadd("errand:audit:changed", {"entry": str(number)})
    await redis.xtrim("errand:audit:refused", maxlen=0)
    await redis.xadd("errand:audit:refused", {"entry": "x"}, maxlen=0)


@pytest.mark.parametrize("make", MAKES)
async def test_all_of_it_is_there_and_nothing_here_and_other_data_is_left_alone(
    redis_url: str, redis: ArqRedis, make: str
) -> None:
    await fill(redis)
    await redis.set("others:key", "x")
    before = {
        key: value
        for key, value in (await contents(redis)).items()
        if key not in (b"others:key", b"errand:audit:refused")
    }
    said: list[str] = []
    await redis.aclose()
    async with serving(make) as server, ends(redis_url, server.url) as (source, target):
        await target.set("theirs", "y")
        own, other = Server(redis=source, shown="redis://old"), Server(redis=target, shown="redis://new")
        with pytest.raises(MoveRefused, match="1 keys of others"):
            await Move(own, other, say=said.append).run()
        await Move(own, other, beside_other_data=True, say=said.append).run()
        assert await contents(target) == {**before, b"theirs": (b"y", False)}
        assert set(await source.keys("*")) == {b"others:key", keys.MOVE.encode()}
        assert any(
            line.startswith(f"each of {len(before)} keys") or f"{len(before) + 1} keys" in line for line in said
        ), said
        with pytest.raises(Refused, match="have been moved to redis://new"):
            await check_welcome(source)
        await check_welcome(target)


async def test_what_is_not_sure_to_be_safe_is_refused(redis_url: str, redis: ArqRedis) -> None:
    await redis.set("arq:job:a", "x")
    async with serving() as server, ends(redis_url, server.url) as (source, target):
        own, other = Server(redis=source, shown="redis://old"), Server(redis=target, shown="redis://new")
        with pytest.raises(MoveRefused, match="1 others are connected"):
            await Move(own, other, say=print).run()
        with pytest.raises(Refused, match="being moved to redis://new"):
            await check_welcome(redis)
        with pytest.raises(Refused, match="of redis://old are being moved here"):
            await check_welcome(target)
        with pytest.raises(MoveRefused, match="being moved to redis://new"):
            await Move(own, Server(redis=target, shown="redis://third"), say=print).run()
        await Move(own, other, say=print).cancel()
        await check_welcome(redis)
        await target.set("arq:job:b", "x")
        await target.delete(keys.MOVE)
        with pytest.raises(MoveRefused, match="1 keys of Errand or Arq"):
            await Move(own, other, ignore_connections=True, say=print).run()
        assert await source.get("arq:job:a") == b"x"


async def test_a_second_run_beside_the_first_removes_nothing(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first has removed from the source, all being moved, is in the target alone."""
    for number in range(10):
        await redis.set(f"arq:job:{number}", "x")
    await redis.aclose()
    async with serving() as server, ends(redis_url, server.url) as (source, target):
        own, other = Server(redis=source, shown="redis://old"), Server(redis=target, shown="redis://new")
        with pytest.raises(MoveRefused, match="are the same database"):
            await Move(own, Server(redis=source, shown="redis://another-name"), say=print).run()
        async with ends(redis_url, server.url) as (source_again, target_again):
            await source_again.ping()
            for second in (
                Move(own, other, ignore_connections=True, say=print).run,
                Move(own, other, say=print).cancel,
            ):
                with pytest.raises(MoveRefused, match="another 'errand move' is connected"):
                    await second()
            # the source does not say who is connected
            slow = Move(
                Server(redis=source_again, shown="redis://old"),
                Server(redis=target_again, shown="redis://new"),
                ignore_connections=True,
                say=print,
            )
            for move in (slow, quick := Move(own, other, ignore_connections=True, say=print)):
                monkeypatch.setattr(move, "_others", none_known)
            monkeypatch.setattr(slow, "_different", after(quick.run, slow._different))
            with pytest.raises(MoveRefused, match="has completed this move"):
                await slow.run()
        assert await target.dbsize() == 10


async def test_many_large_results_are_not_in_memory_together(redis_url: str, redis: ArqRedis) -> None:
    result = b"x" * MEBIBYTE
    for number in range(96):
        await redis.set(f"arq:result:{number}", result)
    await redis.aclose()
    async with serving() as server, ends(redis_url, server.url) as (source, target):
        tracemalloc.start()
        try:
            await Move(Server(redis=source, shown="old"), Server(redis=target, shown="new"), say=print).run()
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await target.dbsize() == 96
    assert peak_bytes < 80 * MEBIBYTE, "what is read at once of both, and what is made of it on the way"


async def none_known() -> None:
    return None


def after(first: Callable[[], Awaitable[None]], then: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def called(*args: Any) -> Any:
        await first()
        return await then(*args)

    return called


@pytest.mark.skipif(len(MAKES) < 2, reason="apt install redis-server")
async def test_jobs_of_the_embedded_redis_outlive_kills_of_the_move_and_run_once(
    new_house: Callable[..., House],  # noqa: F811
) -> None:
    house = new_house()
    house.api()
    args = [LETTER] * JOBS
    later = house.post("/v1/jobs/welcome_email/batch", params={"delay": "30d"}, json=args)["ids"]
    soon = house.post("/v1/jobs/welcome_email/batch", json=args[:20])["ids"]
    house.processes[0].terminate()
    house.processes[0].wait()

    async with serving("redis") as server:
        there = sync_redis.Redis(port=server.port)
        for least in (1, JOBS // 2):
            moving = house.start("errand", "move", server.url)
            eventually_sync(lambda least=least: there.dbsize() > least)  # type: ignore[misc]
            moving.send_signal(signal.SIGKILL)
            assert moving.wait() == -signal.SIGKILL, house.log("errand").read_text()
            refused = house.start("jobs", REDIS_URL=server.url)
            assert refused.wait(60) == 1 and "are being moved here" in house.log("jobs").read_text()
        moving = house.start("errand", "move", server.url)
        assert moving.wait(120) == 0, house.log("errand").read_text()
        said = house.log("errand").read_text()
        assert "going on with a move that was interrupted" in said
        assert f"{JOBS + 20:>9,} jobs that have not ended" in said
        refused = house.start("jobs")
        assert refused.wait(60) == 1 and "have been moved to" in house.log("jobs").read_text()

        house.environment["REDIS_URL"] = server.url
        house.api()
        house.worker()
        ends = [house.ended({"id": job_id}) for job_id in soon]
        assert {(job["status"], len(job["attempts"])) for job in ends} == {("succeeded", 1)}
        letters = list((house.data_dir / "mail").glob("*.eml"))
        assert len(letters) == len(soon)
        waiting = {job_id.decode() for job_id in there.zrange(keys.queue("mail"), 0, -1)}  # type: ignore[union-attr]
        assert waiting == set(later)
        house.processes[-1].kill()
        house.processes[-2].kill()
    assert not socket_path(house.data_dir / "redis").exists() or house.redis_is_stopped()
