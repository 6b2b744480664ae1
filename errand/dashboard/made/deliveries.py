"""How each attempt to deliver a webhook went: status, duration, and what was answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from errand.http.answers.job_view import utc
from errand.http.shared import Shared, in_time
from errand.monitor.job_snapshot import JobSnapshot
from errand.webhooks.endpoints import EndpointAttempt
from errand.webhooks.job_type import JOB_TYPE
from errand.wire.records import Attempt

MAX_DELIVERIES = 20
"""The latest of them."""

ANSWERED = re.compile(r"the receiver answered (\d{3})\b")
"""How an attempt's error begins that an answer is behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDelivery:
    """One attempt."""

    number: int
    at: datetime
    status: int | None
    """Of the answer; None if there was none."""
    duration_s: float
    remote: str
    fault: str
    """Why it counts as failed; empty if it was taken."""
    body: str
    """The start of the answer."""


async def deliveries_of(to: Shared, job: JobSnapshot) -> list[ShownDelivery]:
    """Those of a webhook, the first one first; of an endpoint with what its own list of attempts has of them."""
    if job.type != JOB_TYPE:
        return []
    attempts = job.attempts[-MAX_DELIVERIES:]
    kept = await _kept(to, job, attempts)
    return [
        _of_endpoint(kept[attempt.number]) if attempt.number in kept else _of_job(job, attempt) for attempt in attempts
    ]


async def _kept(to: Shared, job: JobSnapshot, attempts: tuple[Attempt, ...]) -> dict[int, EndpointAttempt]:
    endpoint_id = job.args.get("endpoint_id")
    if not attempts or not isinstance(endpoint_id, str):
        return {}
    found = await in_time(to.webhook_attempts.of_job(endpoint_id, job.id, most=len(attempts)))
    return {attempt.number: attempt for attempt in found}


def _of_endpoint(attempt: EndpointAttempt) -> ShownDelivery:
    return ShownDelivery(
        number=attempt.number,
        at=utc(attempt.at_ms),
        status=attempt.status,
        duration_s=sum(attempt.timings_ms.values()) / 1000,
        remote=attempt.remote,
        fault="" if attempt.fault is None else attempt.error or attempt.fault,
        body=attempt.body,
    )


def _of_job(job: JobSnapshot, attempt: Attempt) -> ShownDelivery:
    """By what the job itself keeps: the answer to a delivery that was taken, the errors of the others."""
    error = "" if attempt.error is None else attempt.error.message
    taken: Mapping[str, Any] = job.result if not error and isinstance(job.result, Mapping) else {}
    answered = ANSWERED.match(error)
    ran_s = (attempt.ended_at_ms - attempt.started_at_ms) / 1000
    return ShownDelivery(
        number=attempt.number,
        at=utc(attempt.ended_at_ms),
        status=int(answered[1]) if answered else taken.get("status"),
        duration_s=taken.get("duration_s", ran_s),
        remote=str(taken.get("remote", "")),
        fault=error,
        body=str(taken.get("body", "")),
    )
