"""What needs attention is said in words, and what is well is not said."""

from __future__ import annotations

import time

from errand.dashboard.attention import Overview, needs
from errand.dead_jobs.dead_jobs import DeadGroup
from errand.doctor.server_checks import Finding
from errand.monitor.queues import WorkerState
from errand.wire import keys
from errand.wire.indexes import DeadEntry


def worker(*types: str, lag_ms: float = 1.0) -> WorkerState:
    return WorkerState("host", 7, 0, queues=["default"], types=set(types), loop_lag_ms=lag_ms)


def test_types_that_no_worker_of_their_queue_knows_are_named() -> None:
    types = {"old": "default", "new": "default", "other": "mail"}
    (need,) = needs(Overview(workers=[worker("old")], types=types))
    assert "knows the type new" in need.says and "JOB_PACKAGES" in need.way_out
    silent = WorkerState("host", 8, 0, queues=["default"])
    assert needs(Overview(workers=[worker("old"), silent], types=types)) == []


def test_a_late_loop_and_endpoints_that_receive_nothing_are_named() -> None:
    until_ms = int(time.time() * 1000) + 90_000
    seen = Overview(
        workers=[worker("old", lag_ms=2_500)], types={}, disabled=["acme", *"abcd"], throttled={"slow": until_ms}
    )
    late, disabled, *_, more, throttled = needs(seen)
    assert "2.5 s late" in late.says and disabled.path == "/webhook-endpoints/acme"
    assert more.says == "2 further webhook endpoints disabled."
    assert "slow asks for a pause, which ends in 1.5 min" in throttled.says
    assert needs(Overview(workers=[worker("old")], types={"old": "default"})) == []


def test_doctors_warnings_come_first_and_dead_jobs_by_group() -> None:
    ended_ms = int(time.time() * 1000) - 120_000
    groups = [
        DeadGroup(queue=keys.queue("mail"), count=count, oldest=entry, newest=entry)
        for count, entry in ((9 - each, DeadEntry(f"type{each}", "E@x:y", ended_ms, "id")) for each in range(5))
    ]
    full = Finding(check="disk", level="warning", found="the disk is full", risk="new jobs", fix="make room")
    first, largest, _, _, rest = needs(Overview(types={}, groups=groups, findings=[full]))
    assert "the disk is full" in first.says and "make room" in first.way_out and not first.path
    assert "9 jobs of the type type0 failed for good: E@x:y, last 2 min ago" in largest.says
    assert largest.path == "/dead-jobs?queue=mail&type=type0"
    assert rest.says == "11 jobs failed for good in 2 further groups."
