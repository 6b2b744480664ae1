"""Claim, renew, finish, retry, cancel, expire, in any order, against a model of the contract (`arq_contract.py`).

Hypothesis thinks up what producers, clients and workers do, several of each and stock Arq's among them. Each step is
done to the model and to a real Redis, and then the two must say the same of every job, key by key. Scripts are atomic:
one after another is all that concurrent callers can be. A call of several round trips is started and ended apart.

The scripts go by the server's clock, and nobody can set that. `PASS_TIME` moves all times that Redis keeps back
instead, scores and expiries alike: a script does nothing with a time but compare it with now, so it cannot tell this
from a clock that has moved on. All that a test waits for is some ticks away, and an example takes less than one, so
what is due, or has lapsed, does not hang on how fast the machine is.

To look for longer, and elsewhere each time:
`make test ARGS='tests/worker/test_arq_contract.py --timeout 0 --hypothesis-profile=long'`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import pytest
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from arq.worker import Retry, func
from arq.worker import Worker as StockWorker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.job.once import LeaseLost
from errand.leases.leases import FOR_EVER_MS, Claim, Claimed, Finish, Leases, Renewed
from errand.monitor.job_snapshot import ENDS, JobSnapshot, read_job
from errand.queue.actions import CancelAnswer
from errand.queue.new_job import JobExists
from errand.queue.queue import Queue
from errand.redis import script
from errand.redis.connection import connect
from errand.redis.outage import Outage
from errand.wire import codec, keys
from errand.wire.indexes import DeadEntry
from errand.wire.records import Attempt, Error, JobFailed
from errand.worker.runners.effects import Effects
from tests.waiting import NEVER_S
from tests.worker.arq_contract import STOCK, Contract, Job, StartedJob, number_and_outcome

T = TypeVar("T")

QUEUE = keys.queue(keys.DEFAULT_QUEUE)
TICK_MS = 100_000
NEAR_MS = TICK_MS / 10
"""The longest that one step takes."""
ENDED_MS = 3 * TICK_MS
FAILED = Error("Error", "it failed")
STOCK_LEASE_MS = 2 * TICK_MS
LEASES_MS = {"one": TICK_MS, "two": 2 * TICK_MS, "three": 3 * TICK_MS}
"""The workers."""
IDS = ("a", "b", "c", "d")
FIRST_TIME_MS = 10**12
"""Scores below are no times: a stock abort sets a job's to 1."""
LONG_MS = 10 * TICK_MS
"""All that was put off is due by then, and no lease still holds."""
WHILE_IT_LIVES = (keys.body(""), keys.lease(""), keys.tries(""))
STEPS = 40

PASS_TIME = f"""
for _, key in ipairs(redis.call('KEYS', '*')) do
  key = string.gsub(key, '^%b{{}}:', '') -- in a cluster
  local expires_ms = redis.call('PEXPIRETIME', key)
  if expires_ms > 0 then
    redis.call('PEXPIREAT', key, expires_ms - ARGV[1])
  end
end
for _, key in ipairs(KEYS) do
  local members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for index = 1, #members, 2 do
    local score = tonumber(members[index + 1])
    if score > {FIRST_TIME_MS} then
      redis.call('ZADD', key, score - ARGV[1], members[index])
    end
  end
end
"""
LOOK = """
local readers = {string = {'GET'}, list = {'LRANGE', 0, -1}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, hash = {'HGETALL'}}
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  key = string.gsub(key, '^%b{}:', '') -- in a cluster
  local reader = readers[redis.call('TYPE', key).ok]
  if reader then
    found[#found + 1] = {key, redis.call(reader[1], key, unpack(reader, 2)), redis.call('PEXPIRETIME', key)}
  end
end
redis.call('DEL', KEYS[1])
return {redis.call('TIME'), found}
"""
"""All there is; takes the wake-up token, so that each step shows whether it leaves one."""


# --- what can happen


def ticks(least: int, most: int) -> st.SearchStrategy[int]:
    """A duration in ms."""
    return st.integers(least, most).map(lambda number: number * TICK_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a worker makes of an attempt."""

    outcome: Literal["succeeded", "failed", "cancelled", "retry", "handed_back", "unstarted"]
    keep_result_ms: int = 0
    due_in_ms: int = 0
    keep_lease_ms: int = 0

    def of(self, claim: Claim) -> Finish:
        if self.outcome == "unstarted":
            return claim.handed_back()
        if self.outcome in ENDS:
            return Finish(
                job_id=claim.job_id,
                token=claim.token,
                status=self.outcome,
                result=self._result(claim),
                keep_result_ms=self.keep_result_ms,
                keep_lease_ms=self.keep_lease_ms,
                dead=self._entry(claim),
            )
        return Finish(
            job_id=claim.job_id,
            token=claim.token,
            status="deferred",
            due_in_ms=self.due_in_ms,
            attempt=self._attempt(claim),
            keep_lease_ms=self.keep_lease_ms,
            give_try_back=self.outcome == "handed_back",
        )

    def _result(self, claim: Claim) -> bytes:
        job = {"f": codec.UNKNOWN, "k": {}} if claim.body is None else codec.loads(claim.body)
        succeeded = self.outcome == "succeeded"
        failed = JobFailed(FAILED, cancelled=self.outcome == "cancelled")
        record = {"id": claim.job_id, "q": QUEUE, "t": claim.job_try, "a": [], "et": 1, "st": 1, "ft": _number(claim)}
        return codec.dumps({**job, **record, "s": succeeded, "r": claim.token if succeeded else failed})

    def _entry(self, claim: Claim) -> str:
        """As workers do: all dead jobs are kept for the same time, and plain Arq functions are never among them."""
        if self.outcome != "failed" or self.keep_result_ms != ENDED_MS or claim.body is None:
            return ""
        return str(DeadEntry.of(claim.job_id, "any", FAILED, ended_at_ms=_number(claim)))

    def _attempt(self, claim: Claim) -> bytes:
        outcome: Literal["retry", "handed_back"] = "retry" if self.outcome == "retry" else "handed_back"
        return codec.dumps(
            Attempt(number=claim.job_try, due_at_ms=1, started_at_ms=1, worker="any", ended_at_ms=1, outcome=outcome)
        )


WORKER = st.sampled_from(list(LEASES_MS))
INDEX = st.integers(0, 9)
"""Which one of those that there are then."""
ENDINGS = st.one_of(
    st.builds(
        Ending,
        outcome=st.sampled_from(["succeeded", "failed", "cancelled"]),
        keep_result_ms=st.sampled_from([FOR_EVER_MS, ENDED_MS, TICK_MS, 0]),
        keep_lease_ms=st.sampled_from([0, 0, 0, 2 * TICK_MS]),
    ),
    st.builds(Ending, outcome=st.just("retry"), due_in_ms=ticks(0, 2), keep_lease_ms=st.sampled_from([0, 0, TICK_MS])),
    st.builds(Ending, outcome=st.sampled_from(["handed_back", "unstarted"])),
)


def _number(claim: Claim) -> int:
    """Of the claim, among those of its worker."""
    return int(claim.token.rpartition("#")[2])


class SlowCancel(Queue):
    """One cancel, which rests between its look at the job and its end of it."""

    async def begin(self, job_id: str) -> SlowCancel:
        self._looked, self._go_on = asyncio.Event(), asyncio.Event()
        self._cancelling = asyncio.create_task(self.cancel(job_id))
        await self._looked.wait()
        return self

    async def end(self) -> CancelAnswer:
        self._go_on.set()
        return await self._cancelling

    async def _cancelled_outcome(self, job_id: str) -> bytes:
        outcome = await super()._cancelled_outcome(job_id)
        self._looked.set()
        await self._go_on.wait()
        return outcome


class StockSide:
    """A stock worker, whose jobs run until the test ends them."""

    def __init__(self, redis: ArqRedis) -> None:
        self._ends: dict[str, asyncio.Future[None]] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._started = asyncio.Event()
        self._all: list[asyncio.Task[None]] = []
        self._worker = StockWorker(
            [func(self._held, name="any")],
            redis_pool=redis,
            job_serializer=codec.dumps,
            job_deserializer=codec.loads,
            handle_signals=False,
            max_jobs=10_000,
            max_tries=10_000,
            job_timeout=STOCK_LEASE_MS / 1000 - 10,  # arq's lease is ten seconds longer
            keep_result=ENDED_MS / 1000,
        )

    async def _held(self, ctx: dict[str, Any], number: int) -> None:
        self._ends[ctx["job_id"]] = end = asyncio.get_running_loop().create_future()
        self._started.set()
        await end

    async def claim(self, job_id: str) -> bool:
        """Arq's own claim of one job; True if it runs now."""
        self._started.clear()
        self._worker.tasks.pop(job_id, None)
        await self._worker.start_jobs([job_id.encode()])
        if (task := self._worker.tasks.get(job_id)) is None:
            return False
        self._all.append(task)
        self._runs[job_id] = task
        started = asyncio.create_task(self._started.wait())
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        return not task.done()

    async def end(self, job_id: str, error: Exception | None) -> None:
        if error is None:
            self._ends[job_id].set_result(None)
        else:
            self._ends[job_id].set_exception(error)
        await self._runs[job_id]

    async def close(self) -> None:
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)


# --- what can be seen


@dataclass(frozen=True, slots=True)
class Sight:
    """All that Redis holds at one moment."""

    now_ms: int
    values: Mapping[str, Any]
    expiries_ms: Mapping[str, int]
    """-1 for never."""

    def pairs(self, key: str) -> dict[str, bytes]:
        """A hash, or a sorted set with its scores."""
        flat = self.values.get(key, [])
        return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return None if value is None else value.decode()


class World:
    """One Redis and the loop in which it is asked, shared by all examples: opening connections is what takes time."""

    def __init__(self, runner: asyncio.Runner, redis: ArqRedis) -> None:
        self.redis = redis
        self.effects = Effects(redis, queue=QUEUE, outage=Outage())
        self.queue = Queue(redis, ended_ttl_s=ENDED_MS / 1000)
        self.replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=ENDED_MS / 1000))
        self._runner = runner
        self._subscription = redis.pubsub()
        self._pass_time = script.register(redis, PASS_TIME)
        self._look = script.register(redis, LOOK)

    def do(self, asked: Awaitable[T]) -> T:
        async def answer() -> T:
            return await asked

        return self._runner.run(answer())

    async def begin_again(self) -> StockSide:
        # a server learns the script from a plain claim
        await Leases(self.redis, queue=QUEUE, worker="first", lease_s=1).claim(1)
        await self.redis.flushall()
        await self._subscription.subscribe(keys.events(QUEUE))
        await self.published()
        return StockSide(self.redis)

    async def pass_time(self, ms: int) -> None:
        await self._pass_time(keys=[QUEUE, keys.dead(QUEUE), keys.workers(QUEUE)], args=[ms])

    async def now_ms(self, *, after_ms: int = 0) -> int:
        """The server's clock, as soon as it is past `after_ms`."""
        while True:
            seconds, micros = await self.redis.time()
            if (now_ms := int(seconds * 1000 + micros // 1000)) > after_ms:
                return now_ms

    async def stock(self, asked: Awaitable[T]) -> T:
        """What stock arq does; its clients round the time, so the ms that they mean must have come as well."""
        answer = await asked
        await self.now_ms(after_ms=timestamp_ms() - 1)
        return answer

    async def look(self) -> Sight:
        (seconds, micros), found = await self._look(keys=[keys.wake(QUEUE)])
        return Sight(
            int(seconds) * 1000 + int(micros) // 1000,
            {key.decode(): value for key, value, _ in found},
            {key.decode(): expires_ms for key, _, expires_ms in found},
        )

    async def published(self) -> list[str]:
        """The changes that were published since the last time: those before the answer to a ping."""
        await self._subscription.ping()
        changes: list[str] = []
        while True:
            message = await self._subscription.get_message(timeout=60)
            assert message is not None, "no answer"
            if message["type"] == "pong":
                return changes
            if message["type"] == "message":
                changes += message["data"].decode().splitlines()

    async def snapshot(self, job_id: str) -> JobSnapshot | None:
        return await read_job(self.redis, job_id)

    async def close(self) -> None:
        await self._subscription.aclose()  # type: ignore[no-untyped-call]
        await self.redis.aclose()


@pytest.fixture
def world(redis_url: str) -> Iterator[World]:
    with asyncio.Runner() as runner:

        async def opened() -> World:
            return World(runner, connect(redis_url, reply_timeout_s=NEVER_S))

        world = runner.run(opened())
        yield world
        world.do(world.close())


# --- one after another


class Machine(RuleBasedStateMachine):
    """Does to Redis and to the model what hypothesis says; after each step they agree.

    Any rule may be tried at any time, and makes what it needs if it is not there: each example leaves some rules out,
    and if a precondition or an `assume` does not hold, hypothesis throws the whole example away.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.model = world, Contract()
        self.workers = {
            name: Leases(world.redis, queue=QUEUE, worker=name, lease_s=lease_ms / 1000)
            for name, lease_ms in LEASES_MS.items()
        }
        self.claims: list[Claim] = []
        """All there ever were, those of ended jobs too."""
        self.held: dict[str, dict[str, Claim]] = {name: {} for name in LEASES_MS}
        """What each worker believes it runs, by job id."""
        self.stock_runs: dict[str, int] = {}
        """Of each job that the stock worker runs: how much time had passed when it was claimed."""
        self.cancelling: tuple[str, int | None, SlowCancel] | None = None
        self.passed_ms = self.number = 0
        self.stock = world.do(world.begin_again())
        self.seen_ms, self.agreed = world.do(world.now_ms()), True
        self.shown: dict[str, Any] = {}
        """What the model said of each job when its snapshot was looked at last."""
        self.model.begin_step(self.seen_ms)

    @rule(ms=ticks(1, 3))
    def pass_time(self, ms: int) -> None:
        self.world.do(self._let_pass(ms))
        self.passed_ms += ms
        self.model.begin_step(self.model.now_ms + ms)
        # arq ends a job at its timeout, before its lease is over: whose lease has lapsed was killed, and says no more
        for job_id in [job_id for job_id in self.stock_runs if self.model[job_id].holder != STOCK]:
            del self.stock_runs[job_id]

    async def _let_pass(self, ms: int) -> None:
        """By the clocks of the workers too: if the server's alone had moved on, that would be a clock set forward."""
        await self.world.pass_time(ms)
        for worker in self.workers.values():
            if worker._reported_s is not None:
                worker._reported_s -= ms / 1000

    @rule(name=WORKER)
    def stall(self, name: str) -> None:
        """A worker is not heard of for as long as its leases last: killed, paused, or cut off from Redis."""
        self._have_jobs(name)
        self.pass_time(LEASES_MS[name])

    # --- producers and clients

    @rule(job_id=st.sampled_from(IDS), in_ms=ticks(-1, 2), by_the_clock=st.booleans())
    def enqueue(self, job_id: str, in_ms: int, by_the_clock: bool) -> None:
        if self._is_run_expired(job_id):
            return
        number = self._next_number()
        when: Any = {"run_at_ms": self.seen_ms + in_ms} if by_the_clock else {"delay_ms": max(in_ms, 0)}
        (taken,) = self.model.enqueue([(job_id, number, self.model.now_ms + in_ms)])
        try:
            self.world.do(self.world.queue.enqueue("any", {"number": number}, job_id=job_id, **when))
        except JobExists:
            assert not taken, "it does not exist"
        else:
            assert taken, "it exists"

    @rule(many=st.integers(2, 4), delay_ms=ticks(0, 1))
    def enqueue_many(self, many: int, delay_ms: int) -> None:
        numbers = [self._next_number() for _ in range(many)]
        args = [{"number": number} for number in numbers]
        put = self.world.do(self.world.queue.enqueue_many("any", args, delay_ms=delay_ms))
        due_ms = self.model.now_ms + delay_ms
        self.model.enqueue((one.job_id, number, due_ms) for one, number in zip(put, numbers, strict=True))

    @rule(job_id=st.sampled_from(IDS), delay_ms=ticks(0, 1), expires_ms=st.sampled_from([None, TICK_MS]))
    def enqueue_stock(self, job_id: str, delay_ms: int, expires_ms: int | None) -> None:
        if self._is_run_expired(job_id):
            return
        number, now_ms = self._next_number(), self.model.now_ms
        keep_ms = delay_ms + (expires_ms or self.world.redis.expires_extra_ms)
        taken = self.model.enqueue_stock(job_id, number, now_ms + delay_ms, body_until_ms=now_ms + keep_ms)
        put = self.world.redis.enqueue_job(
            "any", number=number, _job_id=job_id, _defer_by=delay_ms / 1000, _expires=keep_ms / 1000
        )
        assert (self.world.do(self.world.stock(put)) is not None) == taken

    def _is_run_expired(self, job_id: str) -> bool:
        """Arq gives an id away once its body has expired, also while a worker ends that job, and with it the next."""
        job = self.model[job_id]
        return job.due is not None and job.holder is not None and not self._has_body(job_id)

    def _has_body(self, job_id: str) -> bool:
        return self.model[job_id].has_body(self.model.now_ms)

    def _number_of(self, job_id: str) -> int | None:
        return self.model[job_id].number if self._has_body(job_id) else None

    def _next_number(self) -> int:
        self.number += 1
        return self.number

    @rule(which=INDEX)
    def cancel(self, which: int) -> None:
        job_id = self._any_id(which)
        answer = self.model.cancel(job_id, seen=self._number_of(job_id), keep_ms=ENDED_MS)
        assert self.world.do(self.world.queue.cancel(job_id)) == answer

    @rule(which=INDEX)
    def cancel_slowly(self, which: int) -> None:
        """One half of a cancel: its look at the job, or what follows from that some steps later."""
        if self.cancelling is None:
            slow, job_id = SlowCancel(self.world.redis, ended_ttl_s=ENDED_MS / 1000), self._any_id(which)
            self.cancelling = (job_id, self._number_of(job_id), self.world.do(slow.begin(job_id)))
        else:
            (job_id, seen, slow), self.cancelling = self.cancelling, None
            assert self.world.do(slow.end()) == self.model.cancel(job_id, seen=seen, keep_ms=ENDED_MS)

    @rule(which=INDEX)
    def retry(self, which: int) -> None:
        job_id = self._any_id(which)
        assert self.world.do(self.world.queue.retry(job_id)) == self.model.retry(job_id)

    @rule(which=INDEX, forget=st.booleans())
    def replay_or_forget(self, which: int, forget: bool) -> None:
        ids = [job.id for job in self.model.jobs.values() if job.end is not None] or IDS
        job_id = ids[which % len(ids)]
        if forget:
            assert self.world.do(self.world.queue.forget(job_id)) == self.model.forget(job_id)
        else:
            assert self.world.do(self.world.replays.one(job_id, queue=QUEUE)) == self.model.replay(job_id)

    def _any_id(self, which: int) -> str:
        ids = [*(job.id for job in self.model.in_order()), *IDS]
        return ids[which % len(ids)]

    # --- workers

    @rule(name=WORKER, most=st.integers(1, 4), ahead=st.booleans())
    def claim(self, name: str, most: int, ahead: bool) -> None:
        self._claim(name, most, ahead=ahead)

    @rule(name=WORKER, ahead=st.booleans())
    def claim_while_paused(self, name: str, ahead: bool) -> None:
        self.model.paused = True
        self.world.do(self.world.queue.pause())
        self.agree()
        self._claim(name, 4, ahead=ahead)
        self.agree()
        self.model.resume()
        self.world.do(self.world.queue.resume())

    @rule(name=WORKER, most=st.integers(1, 4), endings=st.lists(ENDINGS, min_size=1, max_size=4))
    def claim_and_finish(self, name: str, most: int, endings: list[Ending]) -> None:
        """The usual life of a job."""
        claims = self._claim(name, most)
        self.agree()
        self._finish(name, list(zip(claims, endings, strict=False)))

    @rule(name=WORKER, endings=st.lists(ENDINGS, min_size=1, max_size=3))
    def finish(self, name: str, endings: list[Ending]) -> None:
        """A worker ends some of the jobs that it runs, or believes to."""
        self._have_jobs(name)
        self._finish(name, list(zip(list(self.held[name].values()), endings, strict=False)))

    @rule(name=WORKER, ends=st.lists(st.tuples(INDEX, ENDINGS), min_size=1, max_size=3))
    def finish_again(self, name: str, ends: list[tuple[int, Ending]]) -> None:
        """What was claimed at any time, and may be finished, lost or forgotten since."""
        self._finish(name, [(claim, ending) for which, ending in ends for claim in self._claim_made(which)])

    @rule(name=WORKER)
    def beat(self, name: str) -> None:
        """A heartbeat of a worker: it stops what it has lost."""
        self._have_jobs(name)
        for job_id in self._renew(name, list(self.held[name].values())).lost:
            del self.held[name][job_id]

    @rule(name=WORKER, which=st.lists(INDEX, min_size=1, max_size=3))
    def renew_again(self, name: str, which: list[int]) -> None:
        self._renew(name, [claim for index in which for claim in self._claim_made(index)])

    @rule(which=INDEX)
    def begin_an_effect(self, which: int) -> None:
        """It is marked, and the job says how far it is."""
        for claim in self._claim_made(which):
            self._report(claim)
            self._begin_an_effect(claim)

    def _have_jobs(self, name: str) -> None:
        """Claims jobs for that worker, if it has none and there are some."""
        if not self.held[name]:
            self._claim(name, 4)
            self.agree()

    def _claim_made(self, which: int) -> list[Claim]:
        """One of the last claims; none if there is none even after trying to make one."""
        if not self.claims:
            self._have_jobs("one")
        return [self.claims[-1 - which % len(self.claims)]] if self.claims else []

    def _report(self, claim: Claim) -> None:
        progress = codec.dumps({"fraction": 0.5, "note": "", "at_ms": 1})
        shown = self.world.do(self.workers["one"].show_progress(claim, progress, keep_ms=86_400_000))
        assert shown == (self.model[claim.job_id].holder == claim.token)
        self.model[claim.job_id].progress |= shown
        self.model.published += [f"progress {claim.job_id}"] if shown else []

    def _begin_an_effect(self, claim: Claim) -> None:
        marked = self.model[claim.job_id].marked_until_ms > 0
        effect = self.world.do(self.world.effects.once(claim, "effect"))
        assert effect.started == marked
        try:
            self.world.do(effect.start())
        except LeaseLost:
            assert not self.model.mark(claim), "the lease is its own"
        else:
            assert self.model.mark(claim), "the lease is another's"

    def _claim(self, name: str, most: int, *, ahead: bool = False) -> Sequence[Claim]:
        if not self.model.in_order():
            self.enqueue_many(2, 0)
            self.agree()
        claimed = self.world.do(self._claim_ahead(name, most) if ahead else self.workers[name].claim(most))
        took_ms = self.world.do(self.world.now_ms()) - self.seen_ms
        token = claimed.claims[0].token if claimed.claims else "nobody's"
        ahead_for = name if ahead else None
        started, due_in_ms = self.model.claim(token, most=most, lease_ms=LEASES_MS[name], ahead_for=ahead_for)
        assert [self._as_started(claim) for claim in claimed.claims] == started
        assert (claimed.due_in_ms is None) == (due_in_ms is None)
        assert abs((claimed.due_in_ms or 0) - (due_in_ms or 0)) <= took_ms
        self.held[name] |= {claim.job_id: claim for claim in claimed.claims}
        self.claims += claimed.claims
        return claimed.claims

    async def _claim_ahead(self, name: str, most: int) -> Claimed:
        """The claim that an idle worker has sent along with its wait for a wake-up, which comes now."""
        own_wakeup = keys.own_wakeup(QUEUE, name)
        await self.world.redis.lpush(own_wakeup, 1)  # type: ignore[misc]  # redis-py types both its clients
        woken = await self.workers[name].claim_when_woken(self.world.redis, own_wakeup, most, timeout_s=5)
        assert woken.claimed is not None
        return woken.claimed

    def _as_started(self, claim: Claim) -> StartedJob:
        return StartedJob(
            claim.job_id,
            None if claim.body is None else codec.loads(claim.body)["k"]["number"],
            self._on_the_models_clock(claim.due_at_ms),
            claim.job_try,
            attempts=tuple(map(number_and_outcome, claim.attempts)),
            lost=claim.lost,
            to_cancel=claim.cancelled,
        )

    def _finish(self, name: str, ends: list[tuple[Claim, Ending]]) -> None:
        outcomes = [ending.of(claim) for claim, ending in ends]
        written = self.world.do(self.workers[name].finish(outcomes))
        assert written == [self.model.finish(outcome) for outcome in outcomes]
        for claim, _ in ends:
            if self.held[name].get(claim.job_id) == claim:
                del self.held[name][claim.job_id]

    def _renew(self, name: str, claims: list[Claim]) -> Renewed:
        tokens = {claim.job_id: claim.token for claim in claims}
        renewed = self.world.do(self.workers[name].renew(tokens, {}))
        assert renewed == self.model.renew(tokens, lease_ms=LEASES_MS[name])
        return renewed

    # --- a stock worker and a stock client

    @rule(which=INDEX)
    def claim_stock(self, which: int) -> None:
        job_id = self._queued_id(which)
        started = self.model.claim_stock(job_id, lease_ms=STOCK_LEASE_MS, keep_ms=ENDED_MS)
        assert self.world.do(self.stock.claim(job_id)) == started
        if started:
            self.stock_runs[job_id] = self.passed_ms

    @rule(which=INDEX, how=st.sampled_from(["succeeded", "failed", "retry"]), defer_ms=ticks(0, 2))
    def end_stock(self, which: int, how: Literal["succeeded", "failed", "retry"], defer_ms: int) -> None:
        if not self.stock_runs:
            self.claim_stock(which)
            return
        job_id = list(self.stock_runs)[which % len(self.stock_runs)]
        claimed_ms, due_ms = self.stock_runs.pop(job_id), self.model[job_id].due_ms
        if how == "retry":
            self.model.retry_stock(job_id, defer_ms=defer_ms)
            # it adds to the score that it has read, before that was moved back
            since_ms = self.passed_ms - claimed_ms if due_ms > FIRST_TIME_MS else 0
            error: Exception | None = Retry(defer=(defer_ms + since_ms) / 1000 if defer_ms else None)
        else:
            self.model.end_stock(job_id, how, keep_ms=ENDED_MS)
            error = ValueError("it failed") if how == "failed" else None
        self.world.do(self.world.stock(self.stock.end(job_id, error)))

    @rule(which=INDEX)
    def abort_stock(self, which: int) -> None:
        """What arq's `Job.abort()` does to the queue."""
        job_id = self._queued_id(which)
        if self.model.abort_stock(job_id):
            self.world.do(self.world.redis.zadd(QUEUE, {job_id: 1}))

    def _queued_id(self, which: int) -> str:
        queued = self.model.in_order()
        return queued[which % len(queued)].id if queued else IDS[which % len(IDS)]

    # --- and then

    @invariant()
    def agree(self) -> None:
        """Redis is as the model says, and nothing else has changed."""
        self.agreed = False
        sight = self.world.do(self.world.look())
        assert self.world.do(self.world.published()) == self.model.published
        assert (keys.wake(QUEUE) in sight.values) == self.model.woken
        assert (keys.paused(QUEUE) in sight.values) == self.model.paused
        self._agree_on_times(sight, step_ms=sight.now_ms - self.seen_ms)
        self.model.begin_step(sight.now_ms + self.passed_ms)
        for job in self.model.jobs.values():
            assert self._seen(job, sight) == self._expected(job)
        _nothing_is_lost_or_left(sight)
        self._agree_on_the_dead(sight)
        self._agree_on_snapshots()
        self.seen_ms, self.agreed = sight.now_ms, True
        self.model.begin_step(self.seen_ms + self.passed_ms)

    def _agree_on_times(self, sight: Sight, *, step_ms: float) -> None:
        scores = {job_id: float(score) for job_id, score in sight.pairs(QUEUE).items()}
        assert scores.keys() == {job.id for job in self.model.in_order()}
        for job in self.model.in_order():
            assert job.due is not None
            job.due.settle(self._on_the_models_clock(scores[job.id]), step_ms=step_ms)
            self._near(job.body_until_ms, sight, keys.body(job.id))
        for job in self.model.jobs.values():
            if job.holder is not None:
                job.held_until_ms = self._near(job.held_until_ms, sight, keys.lease(job.id))
            if job.marked_until_ms:
                self._near(job.marked_until_ms, sight, keys.once(job.id))
            if job.end is not None:
                self._near(job.end_until_ms, sight, keys.result(job.id))

    def _near(self, expected_ms: float, sight: Sight, key: str) -> float:
        """When that key expires, if it does and is there."""
        if (seen_ms := sight.expiries_ms.get(key)) is None:
            return expected_ms
        at_ms = float("inf") if seen_ms == -1 else self._on_the_models_clock(seen_ms)
        assert at_ms == expected_ms or abs(at_ms - expected_ms) < NEAR_MS, f"{key} expires at {at_ms}"
        return at_ms

    def _on_the_models_clock(self, server_ms: float) -> float:
        return server_ms + (self.passed_ms if server_ms > FIRST_TIME_MS else 0)

    def _expected(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "number": self._number_of(job.id),
            "holder": job.holder,
            "tries": job.tries,
            "started": job.started,
            "attempts": job.attempts,
            "progress": job.progress,
            "marked": job.marked_until_ms > 0,
            "asked": job.asked,
            "ended": job.end is not None,
            "record": job.record,
        }

    def _seen(self, job: Job, sight: Sight) -> dict[str, Any]:
        body, running = sight.values.get(keys.body(job.id)), sight.pairs(keys.running(QUEUE)).get(job.id)
        asked = sight.pairs(keys.cancels(QUEUE)).get(job.id)
        number, _, _, token = running.decode().split(" ", 3) if running else ("0", "", "", "")
        return {
            "id": job.id,
            "number": codec.loads(body)["k"]["number"] if body else None,
            "holder": sight.text(keys.lease(job.id)),
            "tries": int(sight.text(keys.tries(job.id)) or 0),
            "started": (int(number), token) if running else None,
            "attempts": list(map(number_and_outcome, sight.values.get(keys.attempts(job.id), []))),
            "progress": keys.progress(job.id) in sight.values,
            "marked": keys.once(job.id) in sight.values,
            "asked": asked.decode() if asked else None,
            "ended": keys.result(job.id) in sight.values,
            "record": sight.values.get(keys.result(job.id)) if job.record is not None else None,
        }

    def _agree_on_the_dead(self, sight: Sight) -> None:
        """No dead job is missing; an entry may outlive its job."""
        dead = {job.dead for job in self.model.jobs.values() if job.dead}
        assert dead <= sight.pairs(keys.dead(QUEUE)).keys() == sight.pairs(keys.dead_by_group(QUEUE)).keys()

    def _agree_on_snapshots(self) -> None:
        """Of the jobs that have changed."""
        shows = {
            job.id: (job.status(self.model.now_ms), job.number, job.tries, tuple(job.attempts), job.progress)
            for job in self.model.jobs.values()
        }
        for job_id, show in shows.items():
            if self.shown.get(job_id) != show:
                self._agree_on_snapshot(job_id, *show)
        self.shown = shows

    def _agree_on_snapshot(
        self, job_id: str, status: str | None, number: int | None, tries: int, attempts: Sequence[Any], progress: bool
    ) -> None:
        snapshot = self.world.do(self.world.snapshot(job_id))
        assert (snapshot and snapshot.status) == status, job_id
        if snapshot is not None and not snapshot.ended:
            assert snapshot.args == {"number": number} and snapshot.attempt >= tries
            assert [(ended.number, ended.outcome) for ended in snapshot.attempts] == list(attempts)
            assert (snapshot.progress is not None) == progress

    def teardown(self) -> None:
        if self.cancelling is not None:
            self.world.do(self.cancelling[2].end())
        if self.agreed:
            self.world.do(self._every_job_comes_to_an_end())
        self.world.do(self.stock.close())

    async def _every_job_comes_to_an_end(self) -> None:
        """Whatever has happened to them: one worker that goes on is enough."""
        await self.world.queue.resume()
        await self._let_pass(LONG_MS)
        last, ends = self.workers["one"], Ending(outcome="succeeded")
        while claims := (await last.claim(10)).claims:
            assert all(await last.finish([ends.of(claim) for claim in claims]))
        sight = await self.world.look()
        assert QUEUE not in sight.values
        assert not [key for key in sight.values if key.startswith(WHILE_IT_LIVES)]


def _nothing_is_lost_or_left(sight: Sight) -> None:
    """By what Redis holds alone: a job is in the queue with its body or has a result, and never both."""
    queued, running = sight.pairs(QUEUE), sight.pairs(keys.running(QUEUE))
    for key, value in sight.values.items():
        kind, _, job_id = key.rpartition(":")
        match kind + ":":
            case "arq:job:":
                assert job_id in queued and keys.result(job_id) not in sight.values
            case "arq:result:":
                assert job_id not in queued
                assert keys.tries(job_id) not in sight.values
            case "arq:in-progress:" if b"#" in value:
                assert running[job_id].endswith(b" " + value), "a live lease is that of the attempt started last"


def test_the_scripts_and_the_model_agree_whatever_happens(world: World) -> None:
    run_state_machine_as_test(
        partial(Machine, world),  # type: ignore[arg-type]  # it is called, as a class would be
        settings=settings(stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)),
    )
