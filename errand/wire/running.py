"""What the hash of running jobs says of one: `number due_ms started_ms token`, the token being `worker#number`."""

from __future__ import annotations

import structlog

from errand.wire.limits import shown_ms
from errand.wire.records import Attempt, Error, RunningAttempt

log = structlog.get_logger("errand.records")


def running_attempt(entry: bytes) -> RunningAttempt | None:
    """The attempt that was started; None, said so in the log, if another program has written the entry."""
    try:
        number, due_ms, started_ms, token = entry.decode().split(" ", 3)
        return RunningAttempt(
            number=int(number),
            due_at_ms=shown_ms(float(due_ms)),
            started_at_ms=shown_ms(int(started_ms)),
            worker=token.rsplit("#", 1)[0],
        )
    except ValueError:
        log.warning("an entry of a running job cannot be read and is left out", entry=repr(entry[:200]))
        return None


def lost_attempt(entry: bytes, *, at_ms: int) -> Attempt | None:
    """The record of an attempt that was started and whose lease has gone, as a claim would write it."""
    started = running_attempt(entry)
    error = Error("WorkerLost", "the worker ended, or lost its lease, before the attempt ended")
    return None if started is None else Attempt.end(started, "lost", at_ms=at_ms, error=error)
