"""Parks the jobs of types that a worker does not know: another worker may, now or after the next deploy.

Such a job uses no try and leaves no attempt. A live worker that knows its type comes for it within about a second
(`errand.leases.parked`); if there is none it waits until one starts. It is also due again by itself, for workers that
report nothing, such as stock ones; the more jobs there are, the later, so that this stays cheap.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import structlog
from arq.utils import timestamp_ms
from arq.worker import Worker

from errand.leases.fleet import Fleet, FleetView
from errand.leases.leases import Finish
from errand.wire import codec, keys, records
from errand.wire.records import PutBack
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.parking import Parking
from errand.worker.runners.runner import Runner

log = structlog.get_logger("errand.worker")


FIRST_WAIT_S = 2.0
"""The least time until a parked job is due again by itself; a live worker that knows its type comes sooner."""


STEP_S = 0.005
"""Parked jobs are due again this far apart on average, all of a queue together."""


LONGEST_WAIT_S = 3600.0
"""A parked job is due again this soon, however old it is and however many there are."""


NAME_LIMIT_CHARS = 100
"""Of a type's name in the reason why a job waits."""


@dataclass(slots=True, kw_only=True)
class UnknownTypeRunner:
    """The `Runner` of jobs whose types are unknown here; `job_runner` ends those that need no attempt to end."""

    worker: Worker
    fleet: Fleet
    job_runner: Runner
    parking: Parking
    met: set[str]
    """The types, as keys have them, of the jobs that it has parked in a burst, which ends with them left."""

    def refusal(self, job: ClaimedJob) -> BaseException | None:
        return None

    def unstarted(self, job: ClaimedJob, error: BaseException) -> Finish:
        return self.job_runner.unstarted(job, error)

    async def run(self, job: ClaimedJob) -> Finish:
        """Starts nothing: parks the job."""
        seen = await self._seen()
        known = seen is None or seen.knows(job.function)
        note = PutBack(
            code="put_back" if known else "type_unknown",
            reason=_reason(job.function, known=known),
            at_ms=timestamp_ms(),
        )
        if self.worker.burst:
            self.met.add(job.function)
        wait_s, why = _longest_wait_s(job, seen, known=known), codec.dumps(note)
        if not known and self.worker.allow_pick_jobs:
            self.parking.meet(job.function, wait_s=wait_s, note=why)
        return Finish(
            job_id=job.claim.job_id,
            token=job.claim.token,
            status="deferred",
            due_in_ms=math.ceil(1000 * _wait_s(job, wait_s)),
            put_back=why,
            parked=keys.type_in_key(job.function),
            give_try_back=True,
        )

    async def finish(self, job: ClaimedJob, outcome: Finish) -> None:
        """Returns at once, as for jobs of known types."""
        await self.job_runner.finish(job, outcome)

    async def _seen(self) -> FleetView | None:
        """The workers of the queue; None if Redis does not say: the job is then parked as if somebody knew its type."""
        try:
            return await self.fleet.look()
        except Exception as error:  # noqa: BLE001  # whatever Redis answers, the job is not this worker's to end
            log.debug("the other workers could not be looked at", error=str(error))
            return None


def _reason(type_name: str, *, known: bool) -> str:
    name = records.clean(type_name[:NAME_LIMIT_CHARS])
    if known:
        return f"the worker that came to it does not know the type '{name}', and leaves it to one that does"
    return f"no live worker of its queue knows the type '{name}'"


def _longest_wait_s(job: ClaimedJob, seen: FleetView | None, *, known: bool) -> float:
    """Until such jobs are due again: the later the more there are and, if nobody knows the type, the older this is."""
    least_s = max(FIRST_WAIT_S, 0.0 if known else job.age_s, STEP_S * (seen.jobs if seen else 0))
    return min(least_s, LONGEST_WAIT_S)


def _wait_s(job: ClaimedJob, longest_s: float) -> float:
    """Until this one is: between half of that and all of it, so that not all are due again at once.

    No longer than until it expires: any worker that comes to it then ends it as failed.
    """
    wait_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311
    if job.claim.first and job.limits.expires_at_ms is not None:
        wait_s = min(wait_s, max(job.limits.expires_at_ms - job.claim.claimed_at_ms, 1) / 1000)
    return wait_s
