"""Jobs that wait for others: due once, when those have ended, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from arq.connections import ArqRedis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.leases.leases import Claim, Finish, Leases
from errand.queue.new_job import step_of
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.redis import script
from errand.wire import codec, flow, keys
from errand.wire.flow import HELD_MS, NO_FLOW, Flow, Needs, PlannedGroup, PlannedJob, RunAfter
from errand.wire.records import Error, JobFailed
from tests.leases.machine import RedisMachine
from tests.leases.test_follow_ups import leases
from tests.redis_cluster import apart

QUEUE = keys.queue("default")

AFTER = st.sampled_from(["all_succeeded", "all_ended"])
ENDS = st.sampled_from(["succeeded", "failed", "cancelled", "queued"])


@dataclass
class Known:
    """A job, as the model has it."""

    flow: Flow = NO_FLOW
    end: str = ""
    """Empty as long as it has not ended."""
    released: bool = False
    """It has been due: nothing holds it back any more."""
    owner: str = ""
    """The token of its latest claim, if it runs."""
    needs: list[str] = field(default_factory=list)


def outcome(claim: Claim, end: str, its_flow: Flow) -> Finish:
    if end == "queued":
        return Finish(job_id=claim.job_id, token=claim.token, status=end, due_in_ms=0)
    failure = JobFailed(Error("Fail", "so it was asked"), cancelled=end == "cancelled")
    job, _ = codec.job_in(claim.body or b"")
    record = {"t": 1, "f": job.function, "a": (), "k": job.kwargs, "et": 1, "s": end == "succeeded"}
    record["r"] = 1 if end == "succeeded" else failure
    more = its_flow.fields() if end != "succeeded" else {}
    result = codec.dumps({**record, "st": 1, "ft": 1, "q": QUEUE, "id": claim.job_id, **more})
    waits = its_flow if its_flow.needs else None
    return Finish(
        job_id=claim.job_id,
        token=claim.token,
        status=end,
        result=result,
        keep_result_ms=600_000,
        type="any",
        flow=waits,
    )


class Machine(RedisMachine):
    """Groups and waiting jobs are put, claimed, lost, ended, also twice and too late, cancelled and replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [leases(self.redis, f"worker-{number}") for number in range(2)]
        self.queue = Queue(self.redis, ended_ttl_s=600)
        self.replays = Replays(DeadJobs(self.redis, queues=[QUEUE], ttl_s=600))
        self.jobs: dict[str, Known] = {}
        self.claims: list[tuple[Leases, Claim]] = []

    def new_job(self) -> PlannedJob:
        return PlannedJob(id=f"job-{len(self.jobs) + 1}", type="any", queue="default")

    def put_now(self, jobs: list[tuple[PlannedJob, Flow]]) -> None:
        self.call(enqueue_together([(self.queue, step_of(job, its_flow)) for job, its_flow in jobs]))

    def known_after(self, job_id: str, its_flow: Flow) -> None:
        needs = [other for other, _ in its_flow.needs.jobs] if its_flow.needs else []
        self.jobs[job_id] = Known(its_flow, needs=needs)
        self.look_whether_due(job_id)

    def look_whether_due(self, job_id: str) -> None:
        job = self.jobs[job_id]
        ends = [self.end_of(other) for other in job.needs]
        strict = job.flow.needs is not None and job.flow.needs.run_after == "all_succeeded"
        if all(ends) or (strict and any(end not in ("", "succeeded") for end in ends)):
            job.released = True

    def end_of(self, job_id: str) -> str:
        return self.jobs[job_id].end

    def outcome(self, claim: Claim, end: str) -> Finish:
        return outcome(claim, end, self.jobs[claim.job_id].flow)

    def ended(self, job_id: str, end: str) -> None:
        self.jobs[job_id].end, self.jobs[job_id].owner = end, ""
        for other, job in self.jobs.items():
            if job_id in job.needs and not job.end:
                self.look_whether_due(other)

    def some(self, data: st.DataObject, job_ids: list[str]) -> str:
        return data.draw(st.sampled_from(sorted(job_ids)))

    @rule(number=st.integers(1, 3), after=AFTER)
    def put_group(self, number: int, after: RunAfter) -> None:
        children = []
        for _ in range(number):
            children.append((child := self.new_job(),))
            self.jobs[child.id] = Known(released=True)
        planned = PlannedGroup(children=tuple(children), join=self.new_job(), run_after=after)
        jobs = flow.first_jobs([planned])
        self.put_now(jobs)
        for job, its_flow in jobs:
            self.known_after(job.id, its_flow)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), after=AFTER)
    def put_one_that_waits(self, data: st.DataObject, after: RunAfter) -> None:
        others = data.draw(st.lists(st.sampled_from(sorted(self.jobs)), min_size=1, max_size=3, unique=True))
        needs = Needs(jobs=tuple((other, "default") for other in others), run_after=after)
        job = self.new_job()
        self.put_now([(job, Flow(needs=needs))])
        self.known_after(job.id, Flow(needs=needs))

    @rule(worker=st.integers(0, 1), most=st.integers(1, 3))
    def claim(self, worker: int, most: int) -> None:
        for claim in self.call(self.workers[worker].claim(most)).claims:
            job = self.jobs[claim.job_id]
            assert job.released and not job.end
            job.owner = claim.token
            self.claims.append((self.workers[worker], claim))

    @precondition(lambda self: any(job.owner for job in self.jobs.values()))
    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        job_id = self.some(data, [job_id for job_id, job in self.jobs.items() if job.owner])
        self.call(self.redis.delete(keys.lease(job_id)))
        self.call(self.redis.zadd(QUEUE, {job_id: 1}, xx=True))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), end=ENDS)
    def finish(self, data: st.DataObject, end: str) -> None:
        worker, claim = data.draw(st.sampled_from(self.claims[-6:]))
        job = self.jobs[claim.job_id]
        (written,) = self.call(worker.finish([self.outcome(claim, end)]))
        assert written == (job.owner == claim.token)
        if written and end == "queued":
            job.owner = ""
        elif written:
            self.ended(claim.job_id, end)

    @precondition(lambda self: any(not job.end and not job.owner for job in self.jobs.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiting = [job_id for job_id, job in self.jobs.items() if not job.end and not job.owner and not job.flow.needs]
        if waiting:
            job_id = self.some(data, waiting)
            assert self.call(self.queue.cancel(job_id)) == "cancelled"
            self.ended(job_id, "cancelled")

    @precondition(lambda self: any(job.end in ("failed", "cancelled") for job in self.jobs.values()))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        job_id = self.some(data, [job_id for job_id, job in self.jobs.items() if job.end in ("failed", "cancelled")])
        assert self.call(self.replays.one(job_id, queue=QUEUE)) == "replayed"
        self.jobs[job_id].end, self.jobs[job_id].released = "", True

    @invariant()
    def each_is_due_or_waits_as_it_should(self) -> None:
        scores = {
            job_id.decode(): score for job_id, score in self.call(self.redis.zrange(QUEUE, 0, -1, withscores=True))
        }
        assert scores.keys() == {job_id for job_id, job in self.jobs.items() if not job.end}
        for job_id, score in scores.items():
            assert (score == HELD_MS) == (not self.jobs[job_id].released), job_id

    @invariant()
    def each_knows_how_those_have_ended_that_it_needs(self) -> None:
        for job_id, job in self.jobs.items():
            if job.needs and not job.end:
                kept = self.call(self.redis.hgetall(keys.needs(job_id)))
                ends = {other: kept[f"job:{other}".encode()].split(b" ")[0].decode() for other in job.needs}
                assert ends == {other: self.end_of(other) for other in job.needs}
                assert int(kept[b"left"]) == list(ends.values()).count("")


def test_a_join_comes_once_and_when_all_that_it_needs_have_ended(redis_url: str) -> None:
    Machine.url = apart(redis_url, 4)
    run_state_machine_as_test(
        Machine, settings=hypothesis_settings(max_examples=12, stateful_step_count=30, deadline=None)
    )


async def test_a_group_of_ten_thousand_is_joined_once(redis: ArqRedis) -> None:
    jobs = [PlannedJob(id=f"job-{number}", type="any", queue="default") for number in range(10_000)]
    join = PlannedJob(id="join", type="any", queue="cpu", delay_ms=60_000)
    planned = flow.first_jobs([PlannedGroup(children=tuple((job,) for job in jobs), join=join)])
    queues = {name: Queue(redis, name=name, ended_ttl_s=60) for name in ("default", "cpu")}
    await enqueue_together([(queues[job.queue], step_of(job, its_flow)) for job, its_flow in planned])
    worker = leases(redis)
    *first, last = (await worker.claim(10_000)).claims
    for start in range(0, len(first), 500):
        await worker.finish([outcome(claim, "succeeded", NO_FLOW) for claim in first[start : start + 500]])
    assert await redis.zscore(keys.queue("cpu"), "join") == HELD_MS
    assert await worker.finish([outcome(last, "succeeded", NO_FLOW)] * 2) == [True, False]
    seconds, _ = await redis.time()
    due_in_s = await redis.zscore(keys.queue("cpu"), "join") / 1000 - seconds
    assert 0 < due_in_s <= 61
    assert await redis.zcard(keys.children("join")) == 10_000


async def test_a_job_that_is_given_no_results_keeps_no_copy_of_them(redis: ArqRedis) -> None:
    queue, large = Queue(redis, ended_ttl_s=60), {"text": "x" * 100_000}
    ended, running, cancelled = [await queue.enqueue("any", large) for _ in range(3)]
    *_, waits = [
        await queue.enqueue("any", {}, flow=Flow(needs=Needs(jobs=((job.job_id, "default"),), run_after="all_ended")))
        for job in (running, cancelled)
    ]
    worker = leases(redis)
    claims = {claim.job_id: claim for claim in (await worker.claim(2)).claims}
    failed = outcome(claims[ended.job_id], "failed", NO_FLOW)
    await worker.finish([failed, outcome(claims[running.job_id], "succeeded", NO_FLOW)])
    assert await queue.cancel(cancelled.job_id) == "cancelled"
    jobs = tuple((job.job_id, "default") for job in (ended, running, cancelled))
    many = await asyncio.gather(
        *(queue.enqueue("any", {}, flow=Flow(needs=Needs(jobs=jobs, run_after="all_ended"))) for _ in range(20))
    )
    for job in (*many, waits):
        kept = await redis.hgetall(keys.needs(job.job_id))  # type: ignore[misc]
        assert sum(map(len, kept.values())) < 1_000
    ends = await redis.hmget(keys.needs(many[0].job_id), [f"job:{job_id}" for job_id, _ in jobs])  # type: ignore[misc]
    assert [end.split(b" ")[0] for end in ends] == [b"failed", b"succeeded", b"cancelled"]
    assert b"so it was asked" in ends[0] and b"before it started" in ends[2]


async def test_each_result_is_read_once_by_a_call_however_many_jobs_wait_for_it(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60)
    job = await queue.enqueue("any", {})
    await queue.cancel(job.job_id)
    its_flow = Flow(needs=Needs(jobs=((job.job_id, "default"),)))
    await queue.enqueue("any", {}, flow=its_flow)
    read = await gets(redis)
    await queue.enqueue_many("any", [{} for _ in range(50)], flow=its_flow)
    assert await gets(redis) - read == 1


async def gets(redis: ArqRedis, command: str = "get") -> int:
    return int((await redis.info("commandstats")).get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_ends_beyond_what_one_call_reads_are_noted_by_a_sweep(redis: ArqRedis) -> None:
    queue, names = Queue(redis, ended_ttl_s=60), ["job-1", "job-2", "job-3"]
    for name in names:
        record = {"t": 1, "f": "any", "a": (), "k": {"text": "x" * 9_000_000}, "et": 1, "s": True, "r": 1}
        await redis.set(keys.result(name), codec.dumps({**record, "st": 1, "ft": 1, "q": QUEUE}), ex=60)
    jobs = tuple((name, "default") for name in names)
    job = await queue.enqueue("any", {}, flow=Flow(needs=Needs(jobs=jobs)))
    assert await redis.zscore(QUEUE, job.job_id) == HELD_MS
    assert await redis.smembers(keys.needed(QUEUE)) == {b"job-3"}  # type: ignore[misc]
    _, noted = await script.load(redis, "worker/sweep/needed")(keys=[keys.needed(QUEUE)], args=["0", 200])
    assert noted == [b"job-3"]
    assert [claim.job_id for claim in (await leases(redis).claim(10)).claims] == [job.job_id]
