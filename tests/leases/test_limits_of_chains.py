"""Limits on jobs that follow others, or wait for them: both hold, and none is lost behind either."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from errand import Concurrency
from errand.leases.leases import Claim, Finish
from errand.leases.rows import FollowUpRow
from errand.wire import codec, flow, keys
from errand.wire.flow import PlannedGroup, PlannedJob, RunAfter
from tests.leases import test_needs
from tests.leases.test_limits import call_type, worker_of
from tests.leases.test_needs import AFTER, QUEUE, Known
from tests.redis_cluster import apart

TENANTS = 3
IN_ALL, OF_ONE = 2, 1


class Machine(test_needs.Machine):
    """The same, of limited jobs, with chains in groups: claimed, lost, ended, also too late, cancelled, replayed."""

    def __init__(self) -> None:
        super().__init__()
        job_type = call_type(limits=[Concurrency(IN_ALL), Concurrency(OF_ONE, "{tenant}")])
        self.workers = [worker_of(self.redis, job_type, name) for name in "ab"]
        self.number = 0
        self.tenants: dict[str, int] = {}
        self.next: dict[str, tuple[PlannedJob, str]] = {}
        """Of the first job of a chain: the second one, and the job that waits for that."""

    def new_job(self) -> PlannedJob:
        self.number += 1
        tenant = self.tenants[f"job-{self.number}"] = self.number % TENANTS
        return PlannedJob(id=f"job-{self.number}", type="call", queue="default", args={"tenant": tenant})

    @rule(after=AFTER)
    def put_group_with_a_chain(self, after: RunAfter) -> None:
        first, second, beside, join = (self.new_job() for _ in range(4))
        self.next[first.id] = (second, join.id)
        jobs = flow.first_jobs([PlannedGroup(children=((first, second), (beside,)), join=join, run_after=after)])
        self.put_now(jobs)
        for job, its_flow in jobs:
            self.jobs[job.id] = Known(its_flow, released=True)
        self.jobs.pop(join.id)
        self.known_after(join.id, jobs[-1][1])

    def end_of(self, job_id: str) -> str:
        """Also of the second job of a chain, which has not been put: as the first, unless that may go on."""
        if job_id in self.jobs:
            return super().end_of(job_id)
        first = next(first for first, (second, _) in self.next.items() if second.id == job_id)
        end = super().end_of(first)
        return "" if end == "succeeded" else end

    def outcome(self, claim: Claim, end: str) -> Finish:
        finish, its_flow = super().outcome(claim, end), self.jobs[claim.job_id].flow
        if its_flow.then and end != "queued":
            finish.flow = its_flow
            second, join = self.next[claim.job_id]
            body = codec.dumps({"t": None, "f": "call", "a": (), "k": second.args, "et": 1})
            finish.follow_ups = [FollowUpRow(QUEUE, second.id, body, 0, None, parent=join)]
        return finish

    def ended(self, job_id: str, end: str) -> None:
        super().ended(job_id, end)
        if job_id in self.next:
            second, join = self.next[job_id]
            if end == "succeeded":
                self.jobs[second.id] = Known(released=True)
            if not self.jobs[join].end:
                self.look_whether_due(join)

    @invariant()
    def no_more_run_than_may(self) -> None:
        owned = [job_id for job_id, job in self.jobs.items() if job.owner]
        running = [job_id for job_id in owned if self.call(self.redis.exists(keys.lease(job_id)))]
        tenants = [self.tenants[job_id] for job_id in running]
        assert len(tenants) <= IN_ALL
        assert all(tenants.count(tenant) <= OF_ONE for tenant in tenants)

    def teardown(self) -> None:
        """What has not ended does so in the end, and leaves nothing."""
        for _ in range(20 * (len(self.jobs) + 1)):
            if all(job.end for job in self.jobs.values()):
                break
            self.end_all_that_run()
            for worker in range(2):
                self.claim(worker, 3)
        assert [job_id for job_id, job in self.jobs.items() if not job.end] == []
        for _ in range(len(self.jobs) + 1):  # each claim lets one go whose job was cancelled after its worker had died
            self.claim(0, 1)
        left = (keys.held_slots(QUEUE), keys.limit_slots(QUEUE, "*"), keys.limit_line(QUEUE, "*"), keys.needed(QUEUE))
        assert [key for pattern in left for key in self.call(self.redis.keys(pattern))] == []
        super().teardown()

    def end_all_that_run(self) -> None:
        for worker, claim in self.claims:
            if self.jobs[claim.job_id].owner == claim.token:
                assert self.call(worker.finish([self.outcome(claim, "succeeded")])) == [True]
                self.ended(claim.job_id, "succeeded")


def test_limits_hold_and_nothing_is_lost_where_jobs_wait_for_others(redis_url: str) -> None:
    Machine.url = apart(redis_url, 4)
    run_state_machine_as_test(
        Machine, settings=hypothesis_settings(max_examples=8, stateful_step_count=30, deadline=None)
    )
