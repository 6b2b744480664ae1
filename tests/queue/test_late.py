"""What reaches the server after its sender has given up does nothing; a job expires by the server's clock alone."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis
from redis.exceptions import TimeoutError

from errand.queue import new_job
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.queue.uniqueness import Unique
from errand.redis.connection import connect
from errand.wire import codec, keys
from errand.wire.limits import JobLimits
from tests.servers import serving
from tests.waiting import NEVER_S

DEADLINE_S = 0.2


def queue_of(redis: ArqRedis, name: str = keys.DEFAULT_QUEUE, *, deadline_s: float = DEADLINE_S) -> Queue:
    return Queue(redis, name=name, ended_ttl_s=60, deadline_s=deadline_s)


async def test_a_call_that_lay_in_a_socket_past_its_answer_does_nothing() -> None:
    async with serving() as server:
        redis = connect(server.url, reply_timeout_s=NEVER_S)
        queue, other = queue_of(redis), queue_of(redis, "cpu")
        held = await queue.enqueue("any", {}, job_id="held", unique=Unique(key="key"))
        await other.enqueue("any", {}, job_id="other")
        await asyncio.gather(*(_open_connection(redis) for _ in range(4)))
        server.freeze()
        calls = [
            queue.enqueue("any", {}, job_id="one"),
            queue.enqueue_many("any", [{}] * 3),
            queue.enqueue("any", {}, unique=Unique(key="key", replace=True)),
            enqueue_together([(one, new_job.NewJob(type_name="any", args={}, job_id="a")) for one in (queue, other)]),
        ]
        said = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in said] == [TimeoutError] * 4
        server.thaw()
        # in each round it works off what lies in all of its sockets
        for _ in range(3):
            await redis.ping()
        assert await redis.zrange(queue.key, 0, -1) == [held.job_id.encode()]
        assert await redis.zrange(other.key, 0, -1) == [b"other"]
        await redis.aclose()


async def _open_connection(redis: ArqRedis) -> None:
    """One more, as each of those that wait needs its own."""
    await redis.execute_command("BLPOP", "nothing", 0.05)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("set_by_ms", [-3_600_000, 0, 3_600_000])
async def test_a_clock_that_is_not_known_or_was_set_costs_a_second_call_and_no_job(
    redis: ArqRedis, set_by_ms: int
) -> None:
    queue = queue_of(redis, deadline_s=NEVER_S)
    await queue.enqueue("any", {}, job_id="first")
    assert queue.script.clock._known is not None
    now_ms, known_s = queue.script.clock._known
    queue.script.clock._known = now_ms - set_by_ms, known_s
    await queue.enqueue("any", {}, job_id="second")
    assert await redis.zcard(queue.key) == 2


async def test_when_a_job_expires_is_said_by_the_servers_clock_alone(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_job, "timestamp_ms", lambda: 3_600_000)
    put = await queue_of(redis).enqueue("any", {"a": 1}, limits=JobLimits(max_tries=2, expires_in_ms=60_000))
    body = codec.loads(await redis.get(keys.body(put.job_id)))
    assert (body["expires_at"], body["max_tries"], body["k"]) == (put.due_at_ms + 60_000, 2, {"a": 1})
