"""What needs attention is said in words, and what is well is not said."""

from __future__ import annotations

from errand.dashboard.attention import needs
from errand.monitor.queues import WorkerState


def worker(*types: str, lag_ms: float = 1.0) -> WorkerState:
    return WorkerState("host", 7, 0, queues=["default"], types=set(types), loop_lag_ms=lag_ms)


def test_types_that_no_worker_of_their_queue_knows_are_named() -> None:
    types = {"old": "default", "new": "default", "other": "mail"}
    (need,) = needs([], [worker("old")], types=types)
    assert "knows the type new" in need.says and "JOB_PACKAGES" in need.way_out
    silent = WorkerState("host", 8, 0, queues=["default"])
    assert needs([], [worker("old"), silent], types=types) == []


def test_a_late_loop_and_a_disabled_endpoint_are_named() -> None:
    late, disabled = needs([], [worker("old", lag_ms=2_500)], types={}, disabled=["acme"])
    assert "2.5 s late" in late.says and disabled.path == "/webhook-endpoints/acme"
    assert needs([], [worker("old")], types={"old": "default"}) == []
