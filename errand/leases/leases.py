"""The script calls by which a worker holds jobs: claim, renew, show progress, finish.

A lease is Arq's in-progress key with a token in it that names its owner and claim. Every write carries the token and
counts only if the lease still has it; a write with any other token is dropped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from errand.leases.rows import ClaimedRow, FinishRow, FollowUpRow
from errand.redis import script
from errand.redis.outage import may_be_done
from errand.redis.redis_py import call_both
from errand.redis.repair import repairing
from errand.wire import codec, keys, minute_counts
from errand.wire.flow import Flow

log = structlog.get_logger("errand.worker")


FORGET_WORKER_S = 3600
"""A worker that was silent for so long is no longer listed."""


SHARED_LOSSES = 2
"""A job may be lost so often with a worker that ran others as well; that proves nothing. Then it runs isolated: with
`MAX_CRASHES` of 3 a job that ends its process has five attempts in all, two of which took others along."""


OUTLIVED, ISOLATED = "LeaseLost", "IsolatedWorkerLost"
"""The errors of lost attempts that say more than that: the worker lived on; the job ran isolated, and had started."""


CALL_S = 1.0
"""A call may be so long under way, and is no sign yet that the server's clock was set forward."""


LONGEST_WAIT_MS = 365 * 86_400_000
"""A job that is due for longer has a score that is no time: a stock client's abort sets it to 1."""


FOR_EVER_MS = -1
"""As `Finish.keep_result_ms`: the result does not expire."""


# not frozen: that would take three times as long to make, and there is one for each job
@dataclass(slots=True)
class Claim:
    """A job that this worker has leased."""

    job_id: str
    due_at_ms: int
    job_try: int
    """The number of this attempt; the first is 1."""
    body: bytes | None
    """None if it has expired, as the body of a stock producer may."""
    attempts: list[bytes]
    """Records of the earlier attempts, oldest first."""
    lost: bool
    """The attempt before this one was started and never ended; the last of `attempts` is its record."""
    token: str
    losses: int = 0
    """How many of the earlier attempts were lost with their worker, which has not been heard of since."""
    crashes: int = 0
    """How many of the earlier attempts ended their process, as far as that is proved."""
    cancelled: bool = False
    """Somebody asked to cancel the job while an earlier attempt ran."""
    claimed_at_ms: int = 0
    """By the server's clock."""

    @property
    def suspect(self) -> bool:
        """True if the job may have ended the workers that it ran in: it is to run isolated from other jobs."""
        return self.losses >= SHARED_LOSSES

    @property
    def first(self) -> bool:
        """True if this is the first attempt of the job; one that a drain handed back counts as an earlier one."""
        return self.job_try == 1 and not self.attempts

    @property
    def still_due_in_ms(self) -> int:
        """As `Finish.due_in_ms`, at most 0: the job keeps its place in the queue, less the time since its claim.

        Due from now on it would be behind all that wait: each restart of a worker would cost its jobs the backlog.
        """
        return max(min(self.due_at_ms - self.claimed_at_ms, 0), -LONGEST_WAIT_MS)

    def handed_back(self, *, due_in_ms: int | None = None) -> Finish:
        """The outcome of a job that is not started; this claim does not count as a try.

        It is due again after `due_in_ms`; without that it keeps its place.
        """
        due_in_ms = self.still_due_in_ms if due_in_ms is None else due_in_ms
        return Finish(job_id=self.job_id, token=self.token, status="queued", due_in_ms=due_in_ms, give_try_back=True)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim."""

    claims: Sequence[Claim]
    due_in_ms: int | None
    """In how many ms the first of the remaining jobs is due; None if none remains."""
    asked_s: float
    """When the claim was sent, on the monotonic clock: the leases are no older than that."""
    workers: int = 0
    """If more jobs are due: how many workers of the queue live, this one included."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The answer to a heartbeat: ids of jobs."""

    lost: Sequence[str]
    """This worker has lost their leases."""
    to_cancel: Sequence[str]
    """Somebody has asked to cancel them."""
    to_sweep: bool = False
    """Jobs wait for others, or hooks of dead jobs are to be called: a sweep looks whether somebody has missed that."""


@dataclass(frozen=True, slots=True)
class Woken:
    """The answer to a wait for a wake-up and the claim behind it."""

    token: bool
    """True if a wake-up came; False if the wait ran out or was interrupted."""
    claimed: Claimed | None
    """None if the claim could not be made."""
    refused: Exception | None = None
    """The error if Redis refused the wait. The claim was made all the same, and its jobs are leased."""


# not frozen: that would take three times as long to make, and there is one for each job
@dataclass(slots=True, kw_only=True)
class Finish:
    """What becomes of a claimed job: it ends, or is due again if `due_in_ms` is given."""

    job_id: str
    token: str
    status: str
    result: bytes | None = None
    keep_result_ms: int = 0
    """0: the result is not kept; FOR_EVER_MS: it does not expire."""
    due_in_ms: int | None = None
    """From now, by the server's clock; below 0: it was due before, and keeps that place."""
    attempt: bytes | None = None
    """The record of the attempt, if another follows it; that of the last attempt is in `result`."""
    put_back: bytes = b""
    """Why it is put back as if it had not been started; such a job has no `attempt`."""
    parked: str = ""
    """If it is put back: its group as keys have it, or its type, if this worker does not know that."""
    keep_lease_ms: int = 0
    """How long the lease stays after the end, so that nobody runs the job again meanwhile."""
    give_try_back: bool = False
    """The attempt does not count as a try."""
    dead: str = ""
    """The job's entry among the dead jobs, if it ends as one. Such a job has no `attempt`, and is not kept for ever."""
    follow_ups: Sequence[FollowUpRow] = ()
    """Jobs that are put in the same moment if it has succeeded."""
    flow: Flow | None = None
    """If the job ends: what it has to do with others."""
    hooks_take_ms: int = 0
    """If the job is dead, and hooks are to be called then: after so long another worker may call them."""
    type: str = ""
    """If the job ends: its type as lists have it (`wire.indexes.type_word`). Without it the job is not listed."""


class Leases:
    """The leases of one worker on one queue, `lease_s` seconds long unless renewed."""

    def __init__(
        self, redis: Redis, *, queue: str, worker: str, lease_s: float, visible: bool = True, limits: bytes = b""
    ) -> None:
        """If the worker is not `visible`, only the keys that stock Arq would write are written: it is in no list.

        `limits` are those of the types that it knows, as `job.limits` writes them.
        """
        self.interval_s = lease_s / 3
        """From one heartbeat to the next: a third of a lease, so that two in a row may be lost."""
        self._redis = redis
        self._queue = queue
        self._worker = worker
        self._visible = visible
        self._limits = limits
        self._lease_ms = int(lease_s * 1000)
        self._numbers = count(1)
        self._unanswered: dict[str, float] = {}
        """The tokens of claims whose answers were lost, as Redis may have made them; until when they are looked for."""
        self._reported_s: float | None = None
        """When the last heartbeat that was answered was sent, on the monotonic clock."""
        self._claim = script.load(redis, "leases/claim")
        self._renew = script.load(redis, "leases/renew")
        self._progress = script.load(redis, "leases/progress")
        self._finish = script.load(redis, "leases/finish")
        self._day = script.load(redis, "leases/day")

    async def claim(self, most: int) -> Claimed:
        """Leases up to `most` jobs that are due by the server's clock, and counts a try for each."""
        names, arguments = self._call_of_claim(most)
        asked_s = time.monotonic()
        with self._answered(str(arguments[0])):
            answer = await self._called(self._claim, names, arguments)
        return self._claimed(answer, token=str(arguments[0]), asked_s=asked_s)

    @contextlib.contextmanager
    def _answered(self, token: str) -> Iterator[None]:
        """For the claim with that token: notes if Redis may have made it, or may make it yet, and nobody has heard."""
        try:
            yield
        except BaseException as error:
            if may_be_done(error):
                self._unanswered[token] = time.monotonic() + self._lease_ms / 1000
            raise

    async def unanswered(self) -> list[Finish]:
        """Outcomes that hand back what claims have leased whose answers were lost with their connections.

        Such a job has not been started: it would wait for the end of its lease, and have used a try. To be called now
        and then, as a call that lies in a socket is made later. Raises redis' errors.
        """
        now_s = time.monotonic()
        self._unanswered = {token: until_s for token, until_s in self._unanswered.items() if until_s > now_s}
        if not self._unanswered:
            return []
        look = partial(self._redis.hgetall, keys.running(self._queue))
        running: Mapping[bytes, bytes] = await repairing(self._redis, self._queue, look)  # type: ignore[arg-type]  # redis-py: async or not
        claims = (_claim_in(job_id, entry) for job_id, entry in running.items())
        return [claim.handed_back() for claim in claims if claim is not None and claim.token in self._unanswered]

    async def _called(self, called: script.Script, names: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await repairing(self._redis, self._queue, partial(called, keys=names, args=arguments))

    async def claim_when_woken(self, patient: Redis, own_wakeup: str, most: int, *, timeout_s: float) -> Woken:
        """Waits for a wake-up, or for an entry in the list `own_wakeup`, then claims up to `most` jobs.

        Both commands are sent together on `patient`: Redis makes the claim as soon as the wait ends, without a round
        trip in between. After `timeout_s` seconds without a wake-up it makes the claim as well. Raises redis' errors.
        """
        names, arguments = self._call_of_claim(most, ahead_for=self._worker, waits_s=timeout_s)
        asked_s = time.monotonic()
        waiting = ("BLPOP", keys.wake(self._queue), own_wakeup, timeout_s)
        with self._answered(str(arguments[0])):
            wakeup, answer = await call_both(patient, waiting, self._claim.command(names, arguments))
        refused = wakeup if isinstance(wakeup, Exception) else None
        # a server that does not know the script yet is sent it by the next plain claim
        knows = not isinstance(answer, NoScriptError)
        if isinstance(answer, Exception) and knows:
            raise answer
        return Woken(
            token=wakeup is not None and refused is None and wakeup[0].decode() != own_wakeup,
            claimed=self._claimed(answer, token=str(arguments[0]), asked_s=asked_s) if knows else None,
            refused=refused,
        )

    def _call_of_claim(
        self, most: int, *, ahead_for: str = "", waits_s: float = 0.0
    ) -> tuple[list[str], list[str | bytes | int]]:
        token = f"{self._worker}#{next(self._numbers)}"
        queue = self._queue
        names = [queue, keys.running(queue), keys.wake(queue), keys.paused(queue), keys.cancels(queue)]
        names += [keys.isolated(queue), keys.workers(queue), keys.clock_set(queue)]
        evidence = self._evidence_of_time(waits_s)
        arguments = [token, self._lease_ms, most, keys.events(queue), ahead_for, self._worker, *evidence, self._limits]
        return names, arguments

    def _evidence_of_time(self, waits_s: float = 0.0) -> tuple[int | str, int]:
        """How many ms ago the last report was sent, '' if never; how many ms more the server may count until the call.

        By a clock that nobody sets. A call that `waits_s` seconds at the server comes so much later.
        """
        since_ms = "" if self._reported_s is None else int((time.monotonic() - self._reported_s) * 1000)
        return since_ms, int((self.interval_s + CALL_S + waits_s) * 1000)

    def _claimed(self, answer: list[Any], *, token: str, asked_s: float) -> Claimed:
        due_in_ms, jobs, now, live = answer
        rows: list[ClaimedRow] = jobs
        now_ms = int(now)
        claims = [_claim_of(row, token=token, now_ms=now_ms) for row in rows if _is_text(row[0])]
        return Claimed(claims, None if due_in_ms < 0 else due_in_ms, asked_s, workers=live)

    async def renew(self, held: Mapping[str, str], counters: Mapping[str, int], *, report: bytes = b"") -> Renewed:
        """Sends one heartbeat: renews the leases `held` (job id → token), adds to counters, stores the report."""
        queue, sent_s = self._queue, time.monotonic()
        lost, to_cancel, to_sweep = await self._called(
            self._renew,
            [
                queue,
                keys.workers(queue),
                keys.counters(queue),
                keys.running(queue),
                keys.cancels(queue),
                keys.reports(queue),
                keys.minutes(queue),
                keys.clock_set(queue),
                *(name(job_id) for job_id in held for name in (keys.lease, keys.tries)),
            ],
            [
                self._worker if self._visible else "",
                self._lease_ms,
                FORGET_WORKER_S * 1000,
                len(held),
                report,
                *self._evidence_of_time(),
                *(part for lease in held.items() for part in lease),
                *(part for counter in counters.items() for part in counter),
            ],
        )
        self._reported_s = sent_s if self._visible else None
        await self._add_to_day(counters)
        return Renewed(
            lost=[job_id.decode() for job_id in lost],
            to_cancel=[job_id.decode() for job_id in to_cancel],
            to_sweep=bool(to_sweep),
        )

    async def _add_to_day(self, counters: Mapping[str, int]) -> None:
        """Adds to what charts show. The heartbeat has succeeded by now: what is missing there is a gap, no fault."""
        counted = minute_counts.positioned(counters)
        if counted and self._visible:
            with contextlib.suppress(RedisError):
                arguments = [len(minute_counts.COUNTERS), minute_counts.KEPT_MS, *counted]
                await self._day(keys=[keys.day_counts(self._queue)], args=arguments)

    async def show_progress(self, claim: Claim, progress: bytes, *, keep_ms: int) -> bool:
        """Shows how far a claimed job is, for `keep_ms`; False if it was dropped because the lease is lost."""
        shown: int = await self._progress(
            keys=[keys.lease(claim.job_id), keys.progress(claim.job_id)],
            args=[claim.token, progress, keep_ms, keys.events(self._queue), claim.job_id],
        )
        return bool(shown)

    async def note_isolated(self, claim: Claim) -> None:
        """The job starts to run isolated: if the worker is lost from now on, that counts. Raises redis' errors."""
        await self._redis.hset(keys.isolated(self._queue), claim.job_id, claim.token)  # type: ignore[misc]  # redis-py: async or not

    async def end_isolated(self, claim: Claim) -> None:
        """The job does not run isolated any more. Raises redis' errors."""
        await self._redis.hdel(keys.isolated(self._queue), claim.job_id)  # type: ignore[misc]

    async def finish(self, outcomes: Iterable[Finish]) -> list[bool]:
        """Writes outcomes in one call; False for each that was dropped because its lease is lost."""
        outcomes = list(outcomes)
        arguments: list[str | bytes | int] = [keys.events(self._queue), _parts_of(outcomes, self._queue)]
        for outcome in outcomes:
            arguments += _row_of(outcome, listed=self._visible)
        queue = self._queue
        written = await self._called(
            self._finish,
            [
                queue,
                keys.running(queue),
                keys.wake(queue),
                keys.cancels(queue),
                keys.dead(queue),
                keys.dead_by_group(queue),
                keys.ended(queue),
                keys.needed(queue),
            ],
            arguments,
        )
        return [bool(answer) for answer in written]

    async def leave(self) -> None:
        """Removes the worker, which stops, from the list of workers."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.zrem(keys.workers(self._queue), self._worker)
            transaction.hdel(keys.reports(self._queue), self._worker)
            await transaction.execute()


def _claim_in(job_id: bytes, entry: bytes) -> Claim | None:
    """The claim that an entry of the running jobs is of, as far as that says; None if it makes no sense."""
    try:
        number, due_ms, claimed_ms, token = entry.decode().split(" ", 3)
        return Claim(
            job_id.decode(),
            due_at_ms=int(max(float(due_ms), 0)),
            job_try=int(number),
            body=None,
            attempts=[],
            lost=False,
            token=token,
            claimed_at_ms=int(claimed_ms),
        )
    except (ValueError, OverflowError):  # another program's
        return None


def _claim_of(row: ClaimedRow, *, token: str, now_ms: int) -> Claim:
    id, due, tries, body, attempts, lost, cancel = row
    losses, crashes = deaths_of(attempts) if attempts else (0, 0)
    return Claim(
        job_id=id.decode(),
        due_at_ms=int(max(float(due), 0)),
        job_try=tries,
        body=body,
        attempts=attempts,
        lost=bool(lost),
        token=token,
        losses=losses,
        crashes=crashes,
        cancelled=bool(cancel),
        claimed_at_ms=now_ms,
    )


def _is_text(job_id: bytes) -> bool:
    """True if the id is UTF-8, as every client writes it. Another one must not keep the jobs behind it from running."""
    try:
        job_id.decode()
    except UnicodeDecodeError:
        log.error("a job id is not UTF-8 and cannot be run", job_id=repr(job_id))
        return False
    return True


def _row_of(outcome: Finish, *, listed: bool) -> FinishRow:
    type_name = outcome.type or outcome.parked
    # by position: names would take longer than all the rest of this function
    return FinishRow._make(
        (
            outcome.job_id,
            outcome.token,
            f"{outcome.status}:{type_name}" if type_name and listed else outcome.status,
            outcome.result or "",
            "" if outcome.keep_result_ms == FOR_EVER_MS else outcome.keep_result_ms,
            "" if outcome.due_in_ms is None else outcome.due_in_ms,
            b"put back " + outcome.put_back if outcome.put_back else outcome.attempt or outcome.dead,
            outcome.keep_lease_ms,
            int(outcome.give_try_back),
        )
    )


def _parts_of(outcomes: Sequence[Finish], queue: str) -> bytes:
    """What the ends mean for others, as the script's JSON; empty if they mean nothing."""
    if not any(outcome.follow_ups or outcome.flow or outcome.hooks_take_ms for outcome in outcomes):
        return b""
    return codec.dumps(
        [part for number, outcome in enumerate(outcomes, start=1) for part in _parts_of_one(number, outcome, queue)]
    )


def _parts_of_one(number: int, outcome: Finish, own_queue: str) -> Iterator[Mapping[str, Any]]:
    if outcome.hooks_take_ms:
        yield {"outcome": number, "hooks": keys.dead_hooks(own_queue), "hooks_take_ms": outcome.hooks_take_ms}
    # those last that wait for others: these are there by then
    for queue, waits in sorted({(row.queue, row.needs is not None) for row in outcome.follow_ups}, key=itemgetter(1)):
        rows = [row for row in outcome.follow_ups if row.queue == queue and (row.needs is not None) == waits]
        yield {
            "outcome": number,
            "queue": queue,
            "wake": keys.wake(queue),
            "channel": keys.events(queue),
            "jobs": [_follow_up_of(row, before=outcome.job_id) for row in rows],
        }
    if outcome.flow is not None:
        last = outcome.flow.last
        ends = last is not None and (last.id, keys.needed(keys.queue(last.queue)))
        yield {"outcome": number, "waited": outcome.flow.needs is not None, "ends": ends}


def _follow_up_of(row: FollowUpRow, *, before: str) -> Sequence[Any]:
    run_at_ms, expires_in_ms = row.run_at_ms or False, row.expires_in_ms or False
    return (row.id, row.body, row.delay_ms, run_at_ms, expires_in_ms, row.parent or before, row.needs or False)


def deaths_of(attempts: Sequence[bytes]) -> tuple[int, int]:
    """In how many of these records the worker was lost, and how many prove that the job ended its process.

    A worker that lived on was no loss.
    """
    losses = crashes = 0
    for attempt in codec.readable(attempts):
        outcome, error = attempt.get("outcome"), attempt.get("error")
        kind = error.get("type") if outcome == "lost" and isinstance(error, dict) else None
        losses += outcome == "lost" and kind != OUTLIVED
        crashes += outcome == "crashed" or kind == ISOLATED
    return losses, crashes
