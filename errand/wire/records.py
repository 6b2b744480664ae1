"""What is written of a job in Redis, and nothing but JSON: bytes from Redis must not be able to run code.

The two functions `dumps` and `loads` are Arq's `job_serializer` and `job_deserializer`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from errand.secrets import redaction
from errand.secrets.redaction import Hide
from errand.wire import fingerprint

AttemptOutcome = Literal["succeeded", "retry", "failed", "cancelled", "handed_back", "lost", "crashed"]


JobStatus = Literal["deferred", "queued", "in_progress", "succeeded", "failed", "cancelled"]


TRACEBACK_LIMIT_CHARS = 4_000


MESSAGE_LIMIT_CHARS = 1_000


NAMED_OF_A_GROUP = 10
"""How many exceptions of an ExceptionGroup its words name; the message is cut anyway."""


@dataclass(frozen=True, slots=True)
class Error:
    """Why an attempt or a job did not succeed."""

    type: str
    message: str
    traceback: str | None = None
    fingerprint: str = ""
    """Its class and the place in the job's code, after what it is about; the class alone if no more is known."""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint.token(self.type))

    @classmethod
    def of(
        cls, error: BaseException, *, with_traceback: bool = True, hide: Hide = redaction.hide, about: str = ""
    ) -> Error:
        """`error` in words without secrets, cut to a bounded size; of a traceback the innermost end is kept.

        `about`: who or what has the fault, as the job says; '' if it does not.
        """
        lines = "".join(traceback.format_exception(error)) if with_traceback else None
        return cls(
            type=type(error).__name__,
            # hidden before they are cut: half a secret would not be known for one
            message=clean(hide(_words(error))[:MESSAGE_LIMIT_CHARS]),
            traceback=lines and clean(hide(lines)[-TRACEBACK_LIMIT_CHARS:]),
            fingerprint=fingerprint.of(error, about=about and hide(str(about))),
        )

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Error:
        """From a record, which may be older than some fields or younger than this reader.

        Raises KeyError or TypeError for one that another program has written.
        """
        texts = (fields["type"], fields["message"], fields.get("traceback") or "", fields.get("fingerprint") or "")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("fields of wrong types")
        return cls(type=texts[0], message=texts[1], traceback=fields.get("traceback"), fingerprint=texts[3])


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A job held up the event loop of its worker, and with it every other job there."""

    for_ms: int
    at: str
    """The file, line and function that ran then, of the job's own code if it has some there."""


# not frozen: that would take three times as long to make, and there is one for each job
@dataclass(slots=True, kw_only=True)
class RunningAttempt:
    """An attempt that has started. Times are ms since the epoch."""

    number: int
    due_at_ms: int
    started_at_ms: int
    worker: str


@dataclass(slots=True, kw_only=True)
class Attempt(RunningAttempt):
    """An attempt that has ended."""

    ended_at_ms: int
    outcome: AttemptOutcome
    error: Error | None = None
    next_attempt_at_ms: int | None = None
    wait_asked: bool = False
    """The attempt itself said how long to wait, or passed on what an endpoint's Retry-After says."""

    @property
    def blocked(self) -> Block | None:
        """The longest time that it held up the event loop.

        No field, so that a record has it only if it did: a reader of v0.1.0 refuses fields that it does not know.
        """
        return None

    @classmethod
    def end(
        cls,
        started: RunningAttempt,
        outcome: AttemptOutcome,
        *,
        at_ms: int,
        error: Error | None = None,
        next_attempt_at_ms: int | None = None,
        wait_asked: bool = False,
        blocked: Block | None = None,
    ) -> Attempt:
        """The end of an attempt that had started."""
        kind = Attempt if blocked is None else partial(BlockingAttempt, blocked=blocked)
        return kind(
            number=started.number,
            due_at_ms=started.due_at_ms,
            started_at_ms=started.started_at_ms,
            worker=started.worker,
            ended_at_ms=at_ms,
            outcome=outcome,
            error=error,
            next_attempt_at_ms=next_attempt_at_ms,
            wait_asked=wait_asked,
        )


@dataclass(slots=True, kw_only=True)
class BlockingAttempt(Attempt):
    """One that held up the event loop."""

    blocked: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a running job says of itself."""

    fraction: float
    note: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """Why a job was put back without an attempt: a word for programs, a sentence, and when, in ms since the epoch."""

    code: str
    reason: str
    at_ms: int


class JobFailed(RuntimeError):
    """A job failed or was cancelled: `error` says why, `cancelled` which of the two. `JobHandle.result` raises it.

    >>> try:
    ...     receipt = await job.result()
    ... except JobFailed as failed:
    ...     print(failed.error.type, failed.error.message)

    `arq.jobs.Job.result()` raises it for a failed job. A worker uses it for a job that ended itself with `Cancel`, too,
    and no CancelledError: Arq would take that for the worker's own stop, and run the job again.
    """

    def __init__(self, error: Error, *, cancelled: bool = False) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.error = error
        self.cancelled = cancelled


class JobCancelled(asyncio.CancelledError):
    """What `arq.jobs.Job.result()` raises for a cancelled job, as Arq's own `abort` expects."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def _words(error: BaseException) -> str:
    try:
        words = str(error)
    except Exception:  # noqa: BLE001  # a job's own exception class may raise here
        words = "(an exception without words)"
    if isinstance(error, BaseExceptionGroup):
        # by itself a group says how many there are, and nothing else
        parts = [f"{type(part).__name__}: {_words(part)}" for part in error.exceptions[:NAMED_OF_A_GROUP]]
        more = ["…"] if len(error.exceptions) > NAMED_OF_A_GROUP else []
        words = f"{words}: [{'; '.join([*parts, *more])}]"
    return words


def clean(text: str) -> str:
    """Text that has a UTF-8 form: what bytes of a peer left half decoded (a lone surrogate) becomes `?`."""
    return text.encode(errors="replace").decode()
