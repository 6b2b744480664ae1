"""Writes the state of queues in Prometheus' text format, version 0.0.4.

Names, base units and `_total` as https://prometheus.io/docs/practices/naming/ asks for. The labels are names of queues
and words of fixed lists, and in one counter job types, so that a series more comes with an installation's code alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from errand.monitor.queues import QueueState
from errand.version import VERSION
from errand.wire.counters import BUCKETS_MS

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


GAUGES = {
    "errand_jobs_due": "Jobs that could run now.",
    "errand_jobs_deferred": "Jobs due later, or waiting for their next attempt.",
    "errand_jobs_in_progress": "Jobs that run.",
    "errand_jobs_dead": "Jobs that have failed for good and are kept.",
    "errand_oldest_due_seconds": "For how long the first of the due jobs has been waiting.",
    "errand_workers": "Live workers of the queue.",
    "errand_worker_slots": "How many jobs these workers run at once.",
    "errand_event_loop_lag_seconds": "How late the event loop of one worker was at most, by their last heartbeats.",
    "errand_queue_paused": "1 while nothing is claimed from the queue.",
}


ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


REASONS = ("missing", "wrong", "expired", "scope", "signature", "elsewhere", "throttled")
"""Why a credential is refused; `elsewhere`: none is needed on this machine, and the client is on another; `throttled`:
a right key, shown for the first time by an address that has tried many wrong ones."""


HISTOGRAMS = {
    "wait_ms": ("errand_wait_seconds", "From a job's due time to the beginning of an attempt."),
    "late_ms": (
        "errand_lateness_seconds",
        "The same of attempts that were not due at once: delays, schedules, tries.",
    ),
    "run_ms": ("errand_run_seconds", "How long attempts ran."),
}


COUNTERS = {
    "stale": ("errand_stale_outcomes_total", "Outcomes dropped because the lease had been lost."),
    "leases_lost": ("errand_lost_leases_total", "Leases that were another worker's, or nobody's, while their job ran."),
}
"""By the counters that workers report, one value for each queue."""


COUNTERS_BY_OUTCOME = {
    "attempts": ("errand_attempts_total", "Attempts that ended, by outcome."),
    "letters": ("errand_letters_total", "Letters handed to mail servers and providers, by outcome."),
    "posts": ("errand_webhook_posts_total", "Webhooks posted to receivers, by outcome: a class of status, or a fault."),
}


def as_text(queues: Sequence[QueueState], *, refused: Mapping[str, int]) -> str:
    """All metrics of those queues; durations in seconds. A counter is as fresh as the workers' last heartbeats.

    `refused`: the credentials that this API process has refused, by reason.
    """
    lines = [*_info(), *_gauges(queues), *_counters(queues), *_blocked(queues)]
    for kind in HISTOGRAMS:
        lines += _histogram(kind, queues)
    lines += _refused(refused)
    return "\n".join(lines) + "\n"


def _gauges(queues: Sequence[QueueState]) -> Iterator[str]:
    for name, help_ in GAUGES.items():
        yield from _head(name, help_, "gauge")
        for queue in queues:
            yield _line(name, {"queue": queue.name}, _gauge(name, queue))


def _gauge(name: str, queue: QueueState) -> float:
    return {
        "errand_jobs_due": queue.due,
        "errand_jobs_deferred": queue.deferred,
        "errand_jobs_in_progress": queue.in_progress,
        "errand_jobs_dead": queue.dead,
        "errand_oldest_due_seconds": (queue.oldest_due_ms or 0) / 1000,
        "errand_workers": queue.workers,
        "errand_worker_slots": queue.slots,
        "errand_event_loop_lag_seconds": (queue.loop_lag_ms or 0) / 1000,
        "errand_queue_paused": int(queue.paused),
    }[name]


def _info() -> Iterator[str]:
    yield from _head("errand_info", "1; the version is that of the API process which answers.", "gauge")
    yield _line("errand_info", {"version": VERSION}, 1)


def _counters(queues: Sequence[QueueState]) -> Iterator[str]:
    for kind, (name, help_) in COUNTERS_BY_OUTCOME.items():
        yield from _head(name, help_, "counter")
        for queue in queues:
            for counter, value in sorted(queue.counters.items()):
                of, _, outcome = counter.partition(":")
                if of == kind:
                    yield _line(name, {"queue": queue.name, "outcome": outcome}, value)
    for kind, (name, help_) in COUNTERS.items():
        yield from _head(name, help_, "counter")
        for queue in queues:
            yield _line(name, {"queue": queue.name}, queue.counters.get(kind, 0))


def _blocked(queues: Iterable[QueueState]) -> Iterator[str]:
    yield from _head("errand_loop_blocked_seconds_total", "For how long jobs blocked their worker, by type.", "counter")
    for queue in queues:
        for counter, value in sorted(queue.counters.items()):
            kind, _, type_name = counter.partition(":")
            if kind == "blocked_ms":
                labels = {"queue": queue.name, "type": type_name}
                yield _line("errand_loop_blocked_seconds_total", labels, value / 1000)


def _histogram(kind: str, queues: Iterable[QueueState]) -> Iterator[str]:
    name, help_ = HISTOGRAMS[kind]
    yield from _head(name, help_, "histogram")
    for queue in queues:
        bounds = [*map(str, BUCKETS_MS), "inf"]
        counts = accumulate(queue.counters.get(f"{kind}:{bound}", 0) for bound in bounds)
        for bound, count in zip(bounds, counts, strict=True):
            le = "+Inf" if bound == "inf" else f"{int(bound) / 1000:g}"
            yield _line(f"{name}_bucket", {"queue": queue.name, "le": le}, count)
        yield _line(f"{name}_sum", {"queue": queue.name}, queue.counters.get(f"{kind}:sum", 0) / 1000)
        yield _line(f"{name}_count", {"queue": queue.name}, count)


def _refused(counts: Mapping[str, int]) -> Iterator[str]:
    yield from _head("errand_refused_credentials_total", "Credentials that this API process has refused.", "counter")
    for reason in REASONS:
        yield _line("errand_refused_credentials_total", {"reason": reason}, counts.get(reason, 0))


def _head(name: str, help_: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    # one name that is not escaped, and Prometheus takes none of the metrics: a plain Arq function may have any
    shown = ",".join(f'{label}="{text.translate(ESCAPES)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}"
