"""One attempt at a job: validate, time, run, decide. It knows nothing of Redis; the worker writes what it decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from errand.job.context import Context
from errand.job.control import Cancel, Crash, Crashed, Fail, Retry
from errand.job.job_type import JobType
from errand.secrets import redaction
from errand.secrets.redaction import Hide
from errand.wire.records import Attempt, Error, RunningAttempt


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    status: Literal["succeeded", "retry", "crashed", "failed", "cancelled"]
    result: Any = None
    error: Error | None = None
    retry_after_s: float = 0.0
    wait_asked: bool = False
    """The attempt itself said how long to wait."""

    def end_of(self, started: RunningAttempt, *, ended_at_ms: int) -> Attempt:
        """The record of the attempt that ended so."""
        retry_at_ms = ended_at_ms + int(self.retry_after_s * 1000)
        return Attempt.end(
            started,
            self.status,
            at_ms=ended_at_ms,
            error=self.error,
            next_attempt_at_ms=retry_at_ms if self.status in ("retry", "crashed") else None,
            wait_asked=self.wait_asked,
        )


async def run(
    job_type: JobType[Any, Any], ctx: Context, kwargs: Mapping[str, Any], *, hide: Hide = redaction.hide
) -> Outcome:
    """Runs one attempt and decides its outcome; raises only CancelledError, when its task is cancelled from outside.

    `hide` takes the secrets of the args out of what is said of an error.

    An exception or a timeout is retried by the type's policy while tries are left; `Fail` and args that do not
    fit the model end the job at once.
    """
    deadline = ctx.clock.start(job_type.timeout_s)
    try:
        args = job_type.read_args(kwargs)
        async with deadline:
            returned = await job_type.function(ctx, args)
        return Outcome("succeeded", result=_as_json(returned))
    except ValidationError as error:
        # only the model's own verdict on the args is final: a job may meet a ValidationError in somebody's answer
        if error.title == job_type.args_model.__name__:
            return Outcome("failed", error=Error(type="InvalidArgs", message=hide(_say(error))))
        return _retry_or_fail(job_type, ctx, error, hide)
    except PydanticSerializationError as error:
        message = f"the result has no JSON form: {error}"
        return Outcome("failed", error=Error(type="InvalidResult", message=hide(message)))
    except Fail as error:
        return Outcome("failed", error=Error.of(error, with_traceback=False, hide=hide))
    except Cancel as error:
        return Outcome("cancelled", error=Error.of(error, with_traceback=False, hide=hide))
    except TimeoutError as error:
        return _retry_or_fail(job_type, ctx, _own_words(error, job_type) if deadline.expired() else error, hide)
    except asyncio.CancelledError as error:
        # asked of this task by a drain, an abort or a lost lease; else the job's own, of something that it awaited
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return _retry_or_fail(job_type, ctx, error, hide)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # an outcome, never the worker's end
        return _retry_or_fail(job_type, ctx, error, hide)


def _retry_or_fail(job_type: JobType[Any, Any], ctx: Context, error: BaseException, hide: Hide) -> Outcome:
    """Another try by the policy, or by the job's own word; the end where tries are used up."""
    recorded = Error.of(error, with_traceback=not isinstance(error, Retry | TimeoutError), hide=hide)
    crashed = isinstance(error, Crash)
    if ctx.attempt >= ctx.max_tries:
        return Outcome("failed", error=recorded)
    if crashed and ctx.crashes + 1 >= ctx.max_crashes:
        return Outcome("failed", error=Error.of(Crashed(ctx.crashes + 1, last=recorded.message), with_traceback=False))
    planned_s = job_type.retry.delay_s(ctx.attempt)
    wait_s = error.wait_s(planned_s) if isinstance(error, Retry) else planned_s
    return Outcome(
        "crashed" if crashed else "retry", error=recorded, retry_after_s=wait_s, wait_asked=wait_s != planned_s
    )


def _own_words(error: TimeoutError, job_type: JobType[Any, Any]) -> TimeoutError:
    """The end of an attempt over its time, from where the job was then: that is in what the deadline interrupted."""
    interrupted = error.__cause__ or error
    return TimeoutError(f"ran longer than {job_type.timeout_s:g} s").with_traceback(interrupted.__traceback__)


def _as_json(returned: Any) -> Any:
    return from_json(to_json(returned, inf_nan_mode="null"))


def _say(error: ValidationError) -> str:
    """Which args are wrong and why; the values stay out, they may be secret."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'args'}: {fault['msg']}" for fault in faults)
