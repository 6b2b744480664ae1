"""Jobs that follow another: put by the call that accepts its success, all of them, or none."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from errand.job.context import Context
from errand.job.job_type import job
from errand.leases.leases import Claim, Finish, Leases
from errand.leases.rows import FollowUpRow
from errand.queue.queue import Queue
from errand.wire import codec, keys
from tests.conftest import RunWorker
from tests.leases.machine import RedisMachine
from tests.redis_cluster import apart
from tests.waiting import NEVER_S
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

QUEUE, OTHER = keys.queue("default"), keys.queue("cpu")


def row(job_id: str, *, queue: str = QUEUE, delay_ms: int = 0, run_at_ms: int | None = None) -> FollowUpRow:
    body = codec.dumps({"t": None, "f": "next", "a": (), "k": {"who": "Ada ♥"}, "et": 1})
    return FollowUpRow(queue, job_id, body, delay_ms, run_at_ms)


def outcome(claim: Claim, status: str, *rows: FollowUpRow, due_in_ms: int | None = None) -> Finish:
    ended = {"result": b"{}", "keep_result_ms": 60_000} if due_in_ms is None else {}
    return Finish(job_id=claim.job_id, token=claim.token, status=status, due_in_ms=due_in_ms, follow_ups=rows, **ended)  # type: ignore[arg-type]


@pytest.fixture
async def claim(redis: ArqRedis) -> Claim:
    await Queue(redis, ended_ttl_s=60).enqueue("first", {}, job_id="first")
    return (await leases(redis).claim(1)).claims[0]


def leases(redis: ArqRedis, name: str = "worker") -> Leases:
    return Leases(redis, queue=QUEUE, worker=name, lease_s=60)


async def test_success_puts_them_into_their_queues_when_they_are_due(redis: ArqRedis, claim: Claim) -> None:
    seconds, _ = await redis.time()
    rows = [row("now"), row("later", delay_ms=60_000), row("then", run_at_ms=(seconds + 600) * 1000)]
    async with redis.pubsub() as listener:
        await listener.subscribe(keys.events(QUEUE), keys.events(OTHER))
        assert await leases(redis).finish([outcome(claim, "succeeded", *rows, row("elsewhere", queue=OTHER))]) == [True]
        seen = [await listener.get_message(timeout=NEVER_S) for _ in range(5)]
    said = {(reply["channel"].decode(), reply["data"]) for reply in seen if reply and reply["type"] == "message"}
    assert said == {
        (keys.events(QUEUE), b"queued now\ndeferred later\ndeferred then"),
        (keys.events(OTHER), b"queued elsewhere"),
        (keys.events(QUEUE), b"succeeded first"),
    }
    waiting = dict(await redis.zrange(QUEUE, 0, -1, withscores=True))
    assert waiting[b"then"] == (seconds + 600) * 1000
    assert 0 < waiting[b"later"] - waiting[b"now"] - 60_000 < 1000 or waiting[b"later"] - waiting[b"now"] == 60_000
    assert (await redis.llen(keys.wake(QUEUE)), await redis.llen(keys.wake(OTHER))) == (1, 1)  # type: ignore[misc]
    (claimed,) = (await leases(redis).claim(1)).claims
    assert codec.job_in(claimed.body or b"")[0].kwargs == {"who": "Ada ♥"}


@pytest.mark.parametrize(("status", "due_in_ms"), [("failed", None), ("cancelled", None), ("deferred", 5)])
async def test_any_other_end_puts_none(redis: ArqRedis, claim: Claim, status: str, due_in_ms: int | None) -> None:
    assert await leases(redis).finish([outcome(claim, status, row("next"), due_in_ms=due_in_ms)]) == [True]
    assert not await redis.exists(keys.body("next"))


async def test_a_job_of_that_id_is_left_as_it_is(redis: ArqRedis, claim: Claim) -> None:
    await Queue(redis, ended_ttl_s=60).enqueue("other", {}, job_id="next", delay_ms=60_000)
    body = await redis.get(keys.body("next"))
    await leases(redis).finish([outcome(claim, "succeeded", row("next"), row("more"))])
    assert (await redis.get(keys.body("next")), await redis.exists(keys.body("more"))) == (body, 1)


async def test_when_one_expires_is_said_by_the_servers_clock(redis: ArqRedis, claim: Claim) -> None:
    asked = row("next")._replace(expires_in_ms=60_000)
    await leases(redis).finish([outcome(claim, "succeeded", asked)])
    body, due_ms = codec.loads(await redis.get(keys.body("next"))), await redis.zscore(QUEUE, "next")
    assert (body["expires_at"], body["k"]) == (due_ms + 60_000, {"who": "Ada ♥"})


async def test_what_a_job_asks_of_its_next_one_is_kept(redis: ArqRedis, run_worker: RunWorker) -> None:
    @job()
    async def second(ctx: Context, args: Nothing) -> None: ...

    @job()
    async def first(ctx: Context, args: Nothing) -> None:
        ctx.add_task(second.options(delay="1h", expires_in="2h", max_tries=2))

    put = await Queue(redis, ended_ttl_s=60).enqueue("first", {})
    async with run_worker([first, second]):
        await ended(redis, put.job_id)
    (next_id,) = await redis.zrange(QUEUE, 0, -1)
    body = codec.loads(await redis.get(keys.body(next_id.decode())))
    late_ms = body["expires_at"] - body["et"] - 7_200_000
    # by the server's clock the one, by the worker's the other
    assert body["max_tries"] == 2 and -1_000 < late_ms < NEVER_S * 1000


async def test_ten_thousand_in_one_call(redis: ArqRedis, claim: Claim) -> None:
    rows = [row(f"next-{number}") for number in range(10_000)]
    await leases(redis).finish([outcome(claim, "succeeded", *rows)])
    assert await redis.zcard(QUEUE) == 10_000


class Machine(RedisMachine):
    """Two workers claim, lose their leases, and write outcomes, also twice and too late; a model knows which count."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [leases(self.redis, f"worker-{number}") for number in range(2)]
        self.live: set[str] = set()
        """The ids of the jobs that have not ended."""
        self.owner: dict[str, str] = {}
        """The token of the latest claim of each job that runs."""
        self.claims: list[tuple[Leases, Claim]] = []
        self.number = 0

    def new_id(self) -> str:
        self.number += 1
        return f"job-{self.number}"

    @rule()
    def put(self) -> None:
        job_id = self.new_id()
        self.call(Queue(self.redis, ended_ttl_s=60).enqueue("any", {}, job_id=job_id))
        self.live.add(job_id)

    @rule(worker=st.integers(0, 1))
    def claim(self, worker: int) -> None:
        for claim in self.call(self.workers[worker].claim(1)).claims:
            self.owner[claim.job_id] = claim.token
            self.claims.append((self.workers[worker], claim))

    @precondition(lambda self: self.owner)
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.owner)))
        self.call(self.redis.delete(keys.lease(job_id)))
        self.call(self.redis.zadd(QUEUE, {job_id: 1}, xx=True))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), number=st.integers(0, 3), status=st.sampled_from(["succeeded", "failed", "queued"]))
    def finish(self, data: st.DataObject, number: int, status: str) -> None:
        worker, claim = data.draw(st.sampled_from(self.claims))
        rows = [row(self.new_id()) for _ in range(number)]
        due_in_ms = 0 if status == "queued" else None
        (written,) = self.call(worker.finish([outcome(claim, status, *rows, due_in_ms=due_in_ms)]))
        assert written == (self.owner.get(claim.job_id) == claim.token)
        if not written:
            return
        del self.owner[claim.job_id]
        if status != "queued":
            self.live.remove(claim.job_id)
        if status == "succeeded":
            self.live |= {job.id for job in rows}

    @invariant()
    def each_job_is_there_that_should_be_and_no_other(self) -> None:
        bodies = {key.decode() for key in self.call(self.redis.keys(keys.body("*")))}
        queued = {job_id.decode() for job_id in self.call(self.redis.zrange(QUEUE, 0, -1))}
        assert (bodies, queued) == ({keys.body(job_id) for job_id in self.live}, self.live)


def test_no_follow_up_is_lost_or_put_without_an_accepted_success(redis_url: str) -> None:
    Machine.url = apart(redis_url, 3)
    run_state_machine_as_test(
        Machine, settings=hypothesis_settings(max_examples=15, stateful_step_count=25, deadline=None)
    )
