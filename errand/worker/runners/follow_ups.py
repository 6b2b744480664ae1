"""The jobs that follow a successful attempt, as the script that writes its outcome puts them."""

from __future__ import annotations

from dataclasses import replace

from errand.job.producing.follow_up import FollowUp, planned
from errand.leases.rows import FollowUpRow
from errand.queue.new_job import new_entry
from errand.wire import flow, keys
from errand.wire.flow import HELD_MS
from errand.worker.runners.attempt import Outcome
from errand.worker.runners.claimed_job import ClaimedJob


def rows_of(job: ClaimedJob, outcome: Outcome) -> list[FollowUpRow]:
    """A row for each that the attempt has asked for, in their order, and for the next step if it is one of a chain."""
    job_id, then = job.claim.job_id, job.flow.then
    parent = job.flow.parent if job.flow.in_group else job_id
    steps = flow.first_jobs(then, parent=parent, in_group=job.flow.in_group, result=outcome.result) if then else []
    follow_ups = [*outcome.follow_ups, *(planned(step, its_flow) for step, its_flow in steps)]
    return [_row_of(follow_up, parent=job_id) for follow_up in follow_ups]


def _row_of(follow_up: FollowUp, *, parent: str) -> FollowUpRow:
    options, its_flow, queue = follow_up.options, follow_up.flow, keys.queue(follow_up.queue)
    if its_flow.parent is None:
        its_flow = replace(its_flow, parent=parent)
    entry = new_entry(
        follow_up.type_name,
        follow_up.args,
        job_id=follow_up.id,
        delay_ms=options.when.delay_ms,
        run_at_ms=options.when.run_at_ms,
        limits=options.limits,
        flow=its_flow,
        origin=follow_up.origin,
    )
    needs = its_flow.for_script(queue, delay_ms=entry.delay_ms, run_at_ms=entry.run_at_ms)["needs"]
    return FollowUpRow(
        queue,
        entry.job_id,
        entry.body,
        entry.delay_ms,
        HELD_MS if needs else entry.run_at_ms,
        entry.expires_in_ms,
        its_flow.parent or "",
        needs or None,
    )
