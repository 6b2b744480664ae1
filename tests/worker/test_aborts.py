"""A worker sees what stock clients want to abort, and leaves the others theirs."""

from __future__ import annotations

import time

import pytest
from arq.connections import ArqRedis

from errand.wire import keys
from errand.worker.aborts import Aborts


async def test_a_worker_whose_clock_is_ahead_leaves_other_workers_their_aborts(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    await redis.zadd(keys.ABORT, {"mine": now_s * 1000, "another's": now_s * 1000, "old": (now_s - 3600) * 1000})
    monkeypatch.setattr("time.time", lambda: now_s + 3600)
    assert await Aborts().look(redis, running={"mine": 0}) == ["mine"]
    assert await redis.zrange(keys.ABORT, 0, -1) == [b"another's"]
