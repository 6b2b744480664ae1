"""The follow-up jobs of an attempt, as the script that writes its outcome puts them."""

from __future__ import annotations

from collections.abc import Sequence

from errand.job.producing.follow_up import FollowUp
from errand.leases.rows import FollowUpRow
from errand.queue.new_job import new_entry
from errand.wire import keys


def rows_of(follow_ups: Sequence[FollowUp]) -> list[FollowUpRow]:
    """A row for each, in their order."""
    return [_row_of(follow_up) for follow_up in follow_ups]


def _row_of(follow_up: FollowUp) -> FollowUpRow:
    options = follow_up.options
    entry = new_entry(
        follow_up.type_name,
        follow_up.args,
        job_id=follow_up.id,
        delay_ms=options.when.delay_ms,
        run_at_ms=options.when.run_at_ms,
        limits=options.limits,
    )
    queue = keys.queue(follow_up.queue)
    return FollowUpRow(queue, entry.job_id, entry.body, entry.delay_ms, entry.run_at_ms, entry.expires_in_ms)
