"""The contract in plain Python: what becomes of jobs, whatever happens to them and in whatever order.

`test_arq_contract.py` does the same to this model and to a real Redis, and compares. A job is a few fields, an
operation a few lines that say what must happen and not how; if the scripts and this page differ, one of them is wrong.

Times are ms of the model's clock: the server's clock plus all the time that the test has let pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from errand.dead_jobs.replay import ReplayAnswer
from errand.leases.leases import FOR_EVER_MS, Claim, Finish, Renewed
from errand.monitor.job_snapshot import Status
from errand.queue.actions import CancelAnswer, RetryAnswer
from errand.wire import codec

STOCK = "1"
"""What a stock worker's lease holds."""
KEPT = "kept"
"""What a lease holds that outlives its attempt: nobody's token."""
ANYBODYS = "*"
ABORTED_MS = 1
"""The due time that a stock client's abort gives to a job: long ago."""

NumberAndOutcome = tuple[int, str]


@dataclass(slots=True)
class Moment:
    """A time that the server decides: known to the length of one step, until it has been seen."""

    at_ms: float
    seen: bool = False

    def settle(self, seen_ms: float, *, step_ms: float) -> None:
        """Redis says `seen_ms`, at the end of a step that took `step_ms`."""
        latest_ms = self.at_ms + (0 if self.seen else step_ms)
        assert self.at_ms <= seen_ms <= latest_ms, f"{seen_ms:.0f} is not in {self.at_ms:.0f}..{latest_ms:.0f}"
        self.at_ms, self.seen = seen_ms, True


@dataclass(slots=True)
class Job:
    """All that is known of one id: nothing, a job that lives, or the end of one."""

    id: str
    number: int | None = None
    """Its argument, different for each job of one id. None if its body expired before it was read."""
    due: Moment | None = None
    """When the job is due, if it has not ended; while it is leased, the end of the lease."""
    body_until_ms: float = math.inf
    """A stock producer's job may expire before it is started."""
    tries: int = 0
    started: tuple[int, str] | None = None
    """The attempt of ours that was started last and has not been finished: its number and token."""
    attempts: list[NumberAndOutcome] = field(default_factory=list)
    """Those that are over and were not the job's end, lost ones included."""
    progress: bool = False
    marked_until_ms: float = 0
    """Until when it is kept that the job has started an effect that should happen once."""
    asked: str | None = None
    """Somebody asked to cancel the job while the attempt with that token ran; ANYBODYS: its next claim cancels it."""
    holder: str | None = None
    """Whose lease is live: a token, STOCK or KEPT."""
    held_until_ms: float = 0
    end: Status | None = None
    record: bytes | None = None
    """The result as it was written; None if somebody else made it."""
    end_until_ms: float = math.inf
    dead: str = ""
    """Its entry among the dead jobs."""

    def forget(self) -> None:
        """The job is no more; what was known of it is no part of the next one of its id."""
        self.due, self.tries, self.started, self.attempts, self.progress = None, 0, None, [], False
        self.marked_until_ms = 0

    def forget_end(self) -> None:
        self.end, self.record, self.dead = None, None, ""

    @property
    def due_ms(self) -> float:
        assert self.due is not None
        return self.due.at_ms

    def has_body(self, now_ms: float) -> bool:
        return self.due is not None and self.body_until_ms > now_ms

    def owned_by(self, token: str) -> bool:
        """The lease is that claim's: it is live, or has lapsed and nobody has started the job since."""
        if self.holder is not None:
            return self.holder == token
        return self.started == (self.tries, token)

    def status(self, now_ms: float) -> Status | None:
        if self.end is not None:
            return self.end
        if not self.has_body(now_ms):
            return None
        if self.holder is not None:
            return "in_progress"
        return "deferred" if self.due_ms > now_ms else "queued"


@dataclass(frozen=True, slots=True)
class StartedJob:
    """What a claim must return of one job."""

    job_id: str
    number: int | None
    """None if the body has expired."""
    due_at_ms: float
    job_try: int
    attempts: tuple[NumberAndOutcome, ...]
    lost: bool
    to_cancel: bool


class Contract:
    """The jobs of one queue."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.jobs: dict[str, Job] = {}
        self.paused = False
        self.woken = False
        """This step should have left a token for an idle worker."""
        self.published: list[str] = []
        """The changes that this step should have published."""

    def __getitem__(self, job_id: str) -> Job:
        return self.jobs.setdefault(job_id, Job(job_id))

    def begin_step(self, now_ms: float) -> None:
        """It is `now_ms`: leases lapse, what was kept for a while is forgotten."""
        self.now_ms, self.woken, self.published = now_ms, False, []
        for job in self.jobs.values():
            if job.holder is not None and job.held_until_ms <= now_ms:
                job.holder = None
            if job.end is not None and job.end_until_ms <= now_ms:
                job.forget_end()
            if job.marked_until_ms <= now_ms:
                job.marked_until_ms = 0

    def in_order(self) -> list[Job]:
        """The queue, the job that is due first at its head."""
        queued = [job for job in self.jobs.values() if job.due is not None]
        return sorted(queued, key=lambda job: (job.due_ms, job.id.encode()))

    # --- producers and clients

    def enqueue(self, new_jobs: Iterable[tuple[str, int, float]]) -> list[bool]:
        """Puts jobs, each an id, a number and when it is due; returns for each whether it was taken."""
        first_ms = min((job.due_ms for job in self.in_order()), default=math.inf)
        answers = []
        for job_id, number, due_ms in new_jobs:
            job, later = self[job_id], due_ms > self.now_ms
            answers.append(self._may_put(job))
            if answers[-1]:
                # what an expired job of that id has left behind is no part of this one
                if job.due is not None:
                    job.forget()
                job.number, job.due, job.body_until_ms = number, Moment(max(due_ms, self.now_ms)), math.inf
                self.published.append(f"{'deferred' if later else 'queued'} {job_id}")
                self.woken = self.woken or not later or due_ms < first_ms
        return answers

    def enqueue_stock(self, job_id: str, number: int, due_ms: float, *, body_until_ms: float) -> bool:
        """A stock producer wakes nobody, and looks for nothing that was left behind."""
        job = self[job_id]
        if not self._may_put(job):
            return False
        job.number, job.due, job.body_until_ms = number, Moment(due_ms), body_until_ms
        return True

    def _may_put(self, job: Job) -> bool:
        """No job of that id lives or is remembered."""
        return not job.has_body(self.now_ms) and job.end is None

    def cancel(self, job_id: str, *, seen: int | None, keep_ms: float) -> CancelAnswer:
        """`seen`: the number of the job of that id as the caller has seen it, which it writes into the result."""
        job = self[job_id]
        if job.end is not None:
            return "ended"
        if job.holder not in (None, KEPT):
            job.asked = job.asked if job.holder == STOCK else job.holder
            return "cancelling"
        if not job.has_body(self.now_ms) or seen is None:
            return "unknown"
        job.number, job.holder, job.asked = seen, None, None
        self._end(job, "cancelled", record=None, keep_ms=keep_ms)
        self.published.append(f"cancelled {job_id}")
        return "cancelled"

    def retry(self, job_id: str) -> RetryAnswer:
        """Makes a job that waits for another try due now."""
        job = self[job_id]
        if job.end is not None:
            return "ended"
        if job.holder is not None:
            return "in_progress"
        if not job.has_body(self.now_ms):
            return "unknown"
        if job.due_ms <= self.now_ms:
            return "queued"
        if job.tries == 0:
            return "deferred"
        job.due = Moment(self.now_ms)
        self.published.append(f"queued {job_id}")
        self.woken = True
        return "retried"

    def replay(self, job_id: str) -> ReplayAnswer:
        """Puts a dead or cancelled job again, with all of its tries; it knows what it has done."""
        job = self[job_id]
        if job.end is None:
            return "gone"
        if job.end == "succeeded":
            return "succeeded"
        if job.number is None:
            return "bodiless"
        if job.holder is not None:
            return "gone"
        job.forget_end()
        job.due, job.body_until_ms = Moment(self.now_ms), math.inf
        job.tries, job.attempts, job.progress = 0, [], False
        job.marked_until_ms = math.inf if job.marked_until_ms else 0
        self.published.append(f"queued {job_id}")
        self.woken = True
        return "replayed"

    def forget(self, job_id: str) -> bool:
        """True if a job of that id had ended."""
        job = self[job_id]
        if job.end is None:
            return False
        job.forget_end()
        job.marked_until_ms = 0
        return True

    def resume(self) -> None:
        self.paused, self.woken = False, True

    # --- workers

    def claim(
        self, token: str, *, most: int, lease_ms: float, ahead_for: str | None = None
    ) -> tuple[list[StartedJob], float | None]:
        """The jobs that are started; in how many ms the first of the others is due.

        `ahead_for` is the worker if the claim was sent ahead, behind a wait: it takes no job that this worker may still
        run.
        """
        if self.paused:
            return [], None
        started: list[StartedJob] = []
        stepped_over = []
        for job in self.in_order():
            if len(started) == most or job.due_ms > self.now_ms:
                break
            if ahead_for and job.started and job.started[1].startswith(f"{ahead_for}#"):
                stepped_over.append(job)
            elif job.holder is None:
                started.append(self._begin(job, token, lease_ms))
                self.published.append(f"in_progress {job.id}")
            elif job.holder == STOCK:
                stepped_over.append(job)
            else:
                job.due = Moment(job.held_until_ms)
        due_in_ms = next((max(job.due_ms - self.now_ms, 0) for job in self.in_order() if job not in stepped_over), None)
        self.woken = len(started) == most and due_in_ms == 0
        return started, due_in_ms

    def _begin(self, job: Job, token: str, lease_ms: float) -> StartedJob:
        due_at_ms, has_body = job.due_ms, job.has_body(self.now_ms)
        job.tries += 1
        lost = job.tries > 1 and job.started is not None
        if lost and job.started:
            job.attempts.append((job.started[0], "lost"))
        if has_body:
            job.body_until_ms = math.inf  # started in time: it may be started again, however late
        to_cancel = job.asked == ANYBODYS or (job.tries > 1 and job.started is not None and job.started[1] == job.asked)
        job.asked = token if to_cancel else job.asked
        self._lease(job, token, lease_ms)
        job.started = (job.tries, token)
        return StartedJob(
            job.id,
            job.number if has_body else None,
            due_at_ms,
            job.tries,
            attempts=tuple(job.attempts),
            lost=lost,
            to_cancel=to_cancel,
        )

    def renew(self, held: Mapping[str, str], *, lease_ms: float) -> Renewed:
        """A heartbeat."""
        lost, to_cancel = [], []
        for job_id, token in held.items():
            if self[job_id].owned_by(token):
                self._lease(self[job_id], token, lease_ms)
                to_cancel += [job_id] if self[job_id].asked == token else []
            else:
                lost.append(job_id)
        return Renewed(lost, to_cancel)

    def _lease(self, job: Job, token: str, lease_ms: float) -> None:
        job.holder, job.held_until_ms = token, self.now_ms + lease_ms
        job.due = Moment(self.now_ms + lease_ms)

    def finish(self, outcome: Finish) -> bool:
        """True if the outcome counts."""
        job = self[outcome.job_id]
        if not job.owned_by(outcome.token):
            return False
        asked = job.asked == outcome.token
        job.started = job.holder = job.asked = None
        if outcome.due_in_ms is None:
            job.number = job.number if job.has_body(self.now_ms) else None
            self._end(job, _end_named(outcome.status), record=outcome.result, keep_ms=outcome.keep_result_ms)
            job.dead = outcome.dead
        else:
            if job.has_body(self.now_ms):
                job.body_until_ms = math.inf
            due_in_ms, job.asked = (0, ANYBODYS) if asked else (outcome.due_in_ms, None)
            job.due = Moment(self.now_ms + due_in_ms)
            job.attempts += [number_and_outcome(outcome.attempt)] if outcome.attempt else []
            job.tries -= outcome.give_try_back
            self.woken = self.woken or due_in_ms <= 0
        if outcome.keep_lease_ms:
            job.holder, job.held_until_ms = KEPT, self.now_ms + outcome.keep_lease_ms
        self.published.append(f"{outcome.status} {job.id}")
        return True

    def mark(self, claim: Claim) -> bool:
        """The worker starts an effect that should happen once; False if it has lost the lease."""
        job = self[claim.job_id]
        if not job.owned_by(claim.token):
            return False
        job.marked_until_ms = math.inf
        return True

    def _end(self, job: Job, status: Status, *, record: bytes | None, keep_ms: float) -> None:
        marked_until_ms = job.marked_until_ms
        job.forget()
        if keep_ms:
            job.end, job.record = status, record
            job.end_until_ms = math.inf if keep_ms == FOR_EVER_MS else self.now_ms + keep_ms
        if keep_ms and status != "succeeded" and marked_until_ms > self.now_ms:
            job.marked_until_ms = job.end_until_ms  # it may be replayed, and must know what it has done

    # --- stock workers: they know nothing of pauses, nor of what ours have started, recorded and reported

    def claim_stock(self, job_id: str, *, lease_ms: float, keep_ms: float) -> bool:
        """True if the stock worker runs the job now."""
        job = self[job_id]
        if job.due is None or job.due_ms > self.now_ms or job.holder is not None:
            return False
        if not job.has_body(self.now_ms):
            job.number = None
            self.end_stock(job_id, "failed", keep_ms=keep_ms)
            return False
        job.tries += 1
        job.holder, job.held_until_ms = STOCK, self.now_ms + lease_ms
        return True

    def end_stock(self, job_id: str, status: Status, *, keep_ms: float) -> None:
        job = self[job_id]
        job.due, job.tries, job.holder = None, 0, None
        job.end, job.end_until_ms = status, self.now_ms + keep_ms

    def retry_stock(self, job_id: str, *, defer_ms: float) -> None:
        job = self[job_id]
        job.holder = None
        if defer_ms:
            job.due = Moment(self.now_ms + defer_ms)

    def abort_stock(self, job_id: str) -> bool:
        """A stock client makes a job due, so that some worker reads the abort; False if it is due already."""
        job = self[job_id]
        if not job.has_body(self.now_ms) or job.due_ms <= self.now_ms:
            return False
        job.due = Moment(ABORTED_MS, seen=True)
        return True


def number_and_outcome(attempt: bytes) -> NumberAndOutcome:
    """What the model keeps of an attempt's record."""
    record = codec.loads(attempt)
    return record["number"], record["outcome"]


def _end_named(status: str) -> Status:
    assert status in ("succeeded", "failed", "cancelled")
    return status  # type: ignore[return-value]  # one of the three
