"""A client's requests in a time: counted for all processes together, cheaply, and never too many."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ResponseError

from errand.http.gates.token_bucket import Allowance, OverLimit, RateLimit
from errand.wire import keys
from tests.waiting import eventually

HOUR_S = 3600


async def script_calls(redis: ArqRedis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def given(limit: RateLimit, number: int, client: str = "ada") -> int:
    """How many of so many requests at once are let through."""
    answers = await asyncio.gather(*(limit.take(client) for _ in range(number)), return_exceptions=True)
    assert all(isinstance(answer, Allowance | OverLimit) for answer in answers)
    return sum(isinstance(answer, Allowance) for answer in answers)


async def test_the_quota_may_come_at_once_and_not_one_more(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=5, window_s=HOUR_S)
    assert [(await limit.take("ada")).left for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(OverLimit) as over:
        await limit.take("ada")
    assert over.value.allowance.left == 0
    # a fifth of an hour brings the next one
    assert over.value.allowance.wait_s == pytest.approx(HOUR_S / 5, abs=5)
    assert (await limit.take("eve")).left == 4, "another client has a quota of its own"


async def test_it_refills_steadily(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=5, window_s=1)
    assert await given(limit, 9) == 5
    with pytest.raises(OverLimit) as over:
        await limit.take("ada")
    wait_s = over.value.allowance.wait_s
    assert 0 < wait_s <= 0.2

    async def let_through() -> bool:
        return await given(limit, 1) == 1

    started_s = time.monotonic()
    await eventually(let_through)
    assert time.monotonic() - started_s >= wait_s - 0.01


async def test_processes_share_one_quota_to_the_last_request(redis: ArqRedis) -> None:
    processes = [RateLimit(redis, quota=100, window_s=HOUR_S) for _ in range(4)]
    assert sum(await asyncio.gather(*(given(limit, 60) for limit in processes))) == 100


async def test_a_high_rate_is_kept_by_processes_that_hold_a_part_of_it(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.http.gates.token_bucket.MAX_HELD_S", HOUR_S)
    quota, rounds = 500, 3
    processes = [RateLimit(redis, quota=quota, window_s=1) for _ in range(3)]
    last_asked_s: list[float] = []

    async def hammer(limit: RateLimit) -> int:
        """Until it is refused, in each round; what is let through."""
        through = 0
        for _ in range(rounds):
            asked_s = time.monotonic()
            while await given(limit, 1):
                through, asked_s = through + 1, time.monotonic()
            last_asked_s.append(asked_s)
            await asyncio.sleep(0.15)  # it refills
        return through

    began_s = time.monotonic()
    assert await given(processes[0], 1) == 1
    started_s = time.monotonic()
    through = 1 + sum(await asyncio.gather(*(hammer(limit) for limit in processes)))
    assert through <= quota + quota * (time.monotonic() - began_s), "the quota, and what has refilled since"
    # none of it is lost but what is held at the end: who was refused last found nothing left
    held = len(processes) * quota / 10
    assert through >= quota + quota * (max(last_asked_s) - started_s) - held - 1


async def test_requests_of_one_moment_share_a_call_and_a_high_rate_needs_few(redis: ArqRedis) -> None:
    slow, fast = RateLimit(redis, quota=1000, window_s=HOUR_S), RateLimit(redis, quota=1000, window_s=1)
    await given(slow, 1)
    before = await script_calls(redis)
    assert await given(slow, 200) == 200
    assert await script_calls(redis) - before == 1
    for _ in range(90):
        await fast.take("eve")
    assert await script_calls(redis) - before == 2


async def test_a_flood_is_refused_without_asking_redis(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=3, window_s=HOUR_S)
    assert await given(limit, 10) == 3
    before = await script_calls(redis)
    for _ in range(100):
        assert await given(limit, 1) == 0
    assert await script_calls(redis) == before


async def test_what_is_held_is_not_kept_for_long(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.http.gates.token_bucket.MAX_HELD_S", 0.0)
    limit = RateLimit(redis, quota=1000, window_s=1)
    before = await script_calls(redis)
    for _ in range(3):
        await limit.take("ada")
    assert await script_calls(redis) - before == 3


async def test_a_bucket_is_forgotten_when_it_is_full_again(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=10, window_s=100)
    await given(limit, 3)
    assert 1_000 < await redis.pttl(keys.rate_limit("ada")) <= 30_001


@pytest.mark.parametrize("left_there", ["9" * 18, "0", "-5", "1.5"])
async def test_what_another_limit_or_clock_has_left_locks_nobody_out(redis: ArqRedis, left_there: str) -> None:
    await redis.set(keys.rate_limit("ada"), left_there)
    limit = RateLimit(redis, quota=10, window_s=1)
    try:
        await limit.take("ada")
    except OverLimit as over:
        assert over.allowance.wait_s <= 0.1  # noqa: PT017  # one of the two is right
    await eventually(lambda: is_admitted(limit))


async def is_admitted(limit: RateLimit) -> bool:
    with contextlib.suppress(OverLimit):
        return bool(await limit.take("ada"))
    return False


async def test_who_gives_up_harms_no_other(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=20, window_s=HOUR_S)
    asking = [asyncio.create_task(limit.take("ada")) for _ in range(20)]
    await asyncio.sleep(0)
    asking[3].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(answer, Allowance) for answer in answers] == [number != 3 for number in range(20)]


async def test_an_error_reaches_all_who_wait_and_the_next_is_served(redis: ArqRedis) -> None:
    limit = RateLimit(redis, quota=20, window_s=HOUR_S)
    await redis.config_set("min-replicas-to-write", 1)
    try:
        answers = await asyncio.gather(*(limit.take("ada") for _ in range(5)), return_exceptions=True)
    finally:
        await redis.config_set("min-replicas-to-write", 0)
    assert [type(answer) for answer in answers] == [ResponseError] * 5
    assert (await limit.take("ada")).left == 19


async def test_clients_by_the_thousand_do_not_fill_the_memory(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.http.gates.token_bucket.MAX_CLIENTS", 50)
    limit = RateLimit(redis, quota=2, window_s=HOUR_S)
    for number in range(200):
        await limit.take(f"client-{number}")
    assert len(limit._clients) <= 51
    assert [await given(limit, 3, f"client-{number}") for number in (0, 199)] == [1, 1], "Redis knows of all"
