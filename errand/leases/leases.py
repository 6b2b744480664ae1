"""A worker's hold on jobs: claim, renew, finish. The only reader of the scripts that do it.

A lease is Arq's in-progress key with a token in it that names its owner and claim. Who writes proves with the token
that the lease is still its own; what anybody else says is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from errand.redis import script
from errand.wire import codec, keys

log = structlog.get_logger("errand.worker")


FORGET_WORKER_S = 3600


FOR_EVER_MS = -1


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours for now."""

    job_id: str
    due_at_ms: int
    job_try: int
    """The number of the attempt that begins; the first is 1."""
    body: bytes | None
    """None where it has expired, as a stock producer's may."""
    attempts: list[bytes]
    """Records of the earlier attempts, oldest first."""
    lost: bool
    """The attempt before this one was started and never ended; its record is among those."""
    token: str
    crashes: int = 0
    """How many of the earlier attempts ended with the process they ran in."""
    cancelled: bool = False
    """Somebody has asked to cancel it while an earlier attempt ran."""
    claimed_at_ms: int = 0
    """By the server's clock."""

    @property
    def first(self) -> bool:
        """No attempt of it has started before, not even one that a drain gave back."""
        return self.job_try == 1 and not self.attempts

    def handed_back(self, *, due_in_ms: int = 0) -> Finish:
        """It was not started: due at once or after a wait, the try not counted."""
        return Finish(job_id=self.job_id, token=self.token, status="queued", due_in_ms=due_in_ms, give_try_back=True)


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one look at the queue brought."""

    claims: Sequence[Claim]
    due_in_ms: int | None
    """How long until the first of what was left is due; None where nothing is."""
    asked_s: float
    """When it was asked for, on the monotonic clock: the leases are no older than that."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a heartbeat brought: ids of jobs."""

    lost: Sequence[str]
    """Their leases are no longer ours."""
    to_cancel: Sequence[str]
    """Somebody has asked to cancel them."""


@dataclass(frozen=True, slots=True)
class Woken:
    """What waiting for a wake-up brought."""

    token: bool
    """A wake-up came, not merely the end of the wait."""
    claimed: Claimed | None
    """None where the claim behind it could not be made."""
    refused: Exception | None = None
    """Why there was no waiting; the claim was made all the same, and what it brought is ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What becomes of a claimed job: it ends, or is due again where `due_in_ms` is given."""

    job_id: str
    token: str
    status: str
    result: bytes | None = None
    keep_result_ms: int = 0
    """0: not at all; FOR_EVER_MS."""
    due_in_ms: int | None = None
    """From now, by the server's clock."""
    attempt: bytes | None = None
    """The record of an attempt that is followed by another."""
    keep_lease_ms: int = 0
    give_try_back: bool = False
    dead: str = ""
    """Its entry among the dead jobs, where it ends as one: such a job has no `attempt`, and is not kept for ever."""
    type: str = ""
    """Where it ends: its type, as the lists have it (`dead_entry.type_word`); without it it is not listed."""


class Leases:
    """The leases of one worker on one queue, `lease_s` seconds long unless renewed."""

    def __init__(self, redis: Redis, *, queue: str, worker: str, lease_s: float, visible: bool = True) -> None:
        """Of one that is not `visible` Redis holds nothing but what Arq's own would leave there."""
        self.interval_s = lease_s / 3
        """A heartbeat every third of a lease: two may be lost before the hold is."""
        self._redis = redis
        self._queue = queue
        self._worker = worker
        self._visible = visible
        self._lease_ms = int(lease_s * 1000)
        self._numbers = count(1)
        self._claim = script.load(redis, "leases/claim")
        self._renew = script.load(redis, "leases/renew")
        self._progress = script.load(redis, "leases/progress")
        self._finish = script.load(redis, "leases/finish")

    async def claim(self, most: int) -> Claimed:
        """Takes up to `most` jobs that are due by the server's clock; counts their tries."""
        names, arguments = self._call_of_claim(most, ahead_for="")
        asked_s = time.monotonic()
        answer = await self._claim(keys=names, args=arguments)
        return self._claimed(answer, token=str(arguments[0]), asked_s=asked_s)

    async def claim_when_woken(self, patient: Redis, own_wakeup: str, most: int, *, timeout_s: float) -> Woken:
        """Waits for a wake-up, or for something in the list `own_wakeup`, and claims up to `most` jobs behind it.

        Both calls are written at once: Redis answers the second as soon as the first has ended, and no answer travels
        between a wake-up and its claim. After `timeout_s` seconds without a wake-up it claims as well.
        """
        names, arguments = self._call_of_claim(most, ahead_for=self._worker)
        asked_s = time.monotonic()
        async with patient.pipeline(transaction=False) as both:
            both.blpop([keys.wake(self._queue), own_wakeup], timeout=timeout_s)  # type: ignore[arg-type]  # redis-py says int and takes any number
            both.evalsha(self._claim.sha, len(names), *names, *map(str, arguments))
            wakeup, answer = await both.execute(raise_on_error=False)
        refused = wakeup if isinstance(wakeup, Exception) else None
        # a server that does not know the script yet learns it from the next plain claim
        knows = not isinstance(answer, NoScriptError)
        if isinstance(answer, Exception) and knows:
            raise answer
        return Woken(
            token=wakeup is not None and refused is None and wakeup[0].decode() != own_wakeup,
            claimed=self._claimed(answer, token=str(arguments[0]), asked_s=asked_s) if knows else None,
            refused=refused,
        )

    def _call_of_claim(self, most: int, *, ahead_for: str) -> tuple[list[str], list[str | int]]:
        token = f"{self._worker}#{next(self._numbers)}"
        queue = self._queue
        names = [queue, keys.running(queue), keys.wake(queue), keys.paused(queue), keys.cancels(queue)]
        return names, [token, self._lease_ms, most, keys.events(queue), ahead_for]

    def _claimed(self, answer: list[Any], *, token: str, asked_s: float) -> Claimed:
        due_in_ms, jobs, now = answer
        now_ms = int(now)
        claims = [
            Claim(
                job_id=job_id.decode(),
                due_at_ms=int(max(float(due), 0)),
                job_try=job_try,
                body=body,
                attempts=attempts,
                lost=bool(lost),
                token=token,
                crashes=crashes_of(attempts),
                cancelled=bool(cancelled),
                claimed_at_ms=now_ms,
            )
            for job_id, due, job_try, body, attempts, lost, cancelled in jobs
            if _is_text(job_id)
        ]
        return Claimed(claims, None if due_in_ms < 0 else due_in_ms, asked_s)

    async def renew(self, held: Mapping[str, str], counters: Mapping[str, int], *, report: bytes = b"") -> Renewed:
        """One heartbeat: renews the leases held (job id → token), adds up counters, says what the worker is."""
        queue = self._queue
        lost, to_cancel = await self._renew(
            keys=[
                queue,
                keys.workers(queue),
                keys.counters(queue),
                keys.running(queue),
                keys.cancels(queue),
                keys.reports(queue),
                keys.minutes(queue),
                *(name(job_id) for job_id in held for name in (keys.lease, keys.tries)),
            ],
            args=[
                self._worker if self._visible else "",
                self._lease_ms,
                FORGET_WORKER_S * 1000,
                len(held),
                report,
                *(part for lease in held.items() for part in lease),
                *(part for counter in counters.items() for part in counter),
            ],
        )
        return Renewed([job_id.decode() for job_id in lost], [job_id.decode() for job_id in to_cancel])

    async def show_progress(self, claim: Claim, progress: bytes, *, keep_ms: int) -> bool:
        """Shows how far a claimed job is; False where its lease is no longer ours: it was dropped."""
        shown: int = await self._progress(
            keys=[keys.lease(claim.job_id), keys.progress(claim.job_id)],
            args=[claim.token, progress, keep_ms, keys.events(self._queue), claim.job_id],
        )
        return bool(shown)

    async def finish(self, outcomes: Iterable[Finish]) -> list[bool]:
        """Writes outcomes in one call; False for each whose lease was no longer ours: it was dropped."""
        arguments: list[str | bytes | int] = [keys.events(self._queue)]
        for outcome in outcomes:
            arguments += _as_arguments(outcome, listed=self._visible)
        queue = self._queue
        written = await self._finish(
            keys=[
                queue,
                keys.running(queue),
                keys.wake(queue),
                keys.cancels(queue),
                keys.dead(queue),
                keys.dead_by_group(queue),
                keys.ended(queue),
            ],
            args=arguments,
        )
        return [bool(answer) for answer in written]

    async def leave(self) -> None:
        """The worker stops: it is not waited for any more."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.zrem(keys.workers(self._queue), self._worker)
            transaction.hdel(keys.reports(self._queue), self._worker)
            await transaction.execute()


def _is_text(job_id: bytes) -> bool:
    """Nobody who enqueues by a client can make an id that is not; it must not keep the others from being run."""
    try:
        job_id.decode()
    except UnicodeDecodeError:
        log.error("a job id is not UTF-8 and cannot be run", job_id=repr(job_id))
        return False
    return True


def _as_arguments(outcome: Finish, *, listed: bool) -> tuple[str | bytes | int, ...]:
    return (
        outcome.job_id,
        outcome.token,
        f"{outcome.status}:{outcome.type}" if outcome.type and listed else outcome.status,
        outcome.result or "",
        "" if outcome.keep_result_ms == FOR_EVER_MS else outcome.keep_result_ms,
        "" if outcome.due_in_ms is None else outcome.due_in_ms,
        outcome.attempt or outcome.dead,
        outcome.keep_lease_ms,
        int(outcome.give_try_back),
    )


DIED = frozenset({"lost", "crashed"})
"""How attempts end that did not end themselves."""


def crashes_of(attempts: Sequence[bytes]) -> int:
    """How many of those records are of attempts that ended with their process."""
    return sum(attempt.get("outcome") in DIED for attempt in codec.readable(attempts)) if attempts else 0
