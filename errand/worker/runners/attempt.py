"""One attempt at a job: check the args, run the function within its time, decide the outcome. It writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from errand.job.context import Context
from errand.job.control import Cancel, Crash, Crashed, Fail, Killed, Retry, Snooze
from errand.job.job_type import JobType
from errand.job.producing.follow_up import FollowUp
from errand.secrets import redaction
from errand.secrets.redaction import STARS, Hide
from errand.wire.records import Attempt, Block, Error, RunningAttempt

FOLLOWED_BY_ANOTHER = ("retry", "crashed", "handed_back")
"""Outcomes of an attempt that is not the last of its job."""


BETWEEN = "\ud800"
"""Stands in no text of JSON."""


MAX_FAULTS = 100
"""Of args, that are named: of a mebibyte of wrong values the result would have 16 MB."""


# not frozen: that would take three times as long to make, and there is one for each job
@dataclass(slots=True)
class Outcome:
    """How an attempt ended."""

    status: Literal["succeeded", "retry", "crashed", "failed", "cancelled", "handed_back"]
    result: Any = None
    error: Error | None = None
    retry_after_s: float = 0.0
    wait_asked: bool = False
    """The job function itself said how long to wait."""
    follow_ups: Sequence[FollowUp] = ()
    """The jobs to put if it has succeeded."""
    snoozed: Snooze | None = None
    """The job is put back as if it had not been started: the attempt does not count, and is not recorded."""

    def end_of(self, started: RunningAttempt, *, ended_at_ms: int, blocked: Block | None = None) -> Attempt:
        """The record of the started attempt, now that it has ended like this."""
        retry_at_ms = ended_at_ms + int(self.retry_after_s * 1000)
        return Attempt.end(
            started,
            self.status,
            at_ms=ended_at_ms,
            error=self.error,
            next_attempt_at_ms=retry_at_ms if self.status in FOLLOWED_BY_ANOTHER else None,
            wait_asked=self.wait_asked,
            blocked=blocked,
        )


async def run(
    job_type: JobType[Any, Any],
    ctx: Context,
    kwargs: Mapping[str, Any],
    *,
    hide: Hide = redaction.hide,
    call: Callable[..., Awaitable[Any]] | None = None,
) -> Outcome:
    """Runs one attempt and decides its outcome; raises only CancelledError, when its task is cancelled from outside,
    and Killed.

    An exception or a timeout is retried by the type's policy while tries are left; `Fail` and args that do not
    fit the model end the job at once. `hide` takes the secrets of the args out of
    the result and out of the text of an error. `call` is called in place of the type's function, if it is given.
    """
    deadline = ctx.clock.start(job_type.timeout_s)
    try:
        args = job_type.read_args(kwargs)
        async with deadline:
            returned = await (call or job_type.function)(ctx, args)
        if ctx.clock.overdue_s > 0:
            # it blocked the loop, or another job did, so that the deadline could not come
            return after_error(job_type, ctx, overtime(job_type), hide)
        return Outcome("succeeded", result=_as_json(returned, hide), follow_ups=ctx.follow_ups)
    except ValidationError as error:
        # final only if the args do not fit the model: the job function may raise one for an answer that it has read
        if error.title == job_type.args_model.__name__:
            return Outcome("failed", error=Error(type="InvalidArgs", message=hide(_describe(error))))
        return after_error(job_type, ctx, error, hide)
    except PydanticSerializationError as error:
        message = f"the result has no JSON form: {error}"
        return Outcome("failed", error=Error(type="InvalidResult", message=hide(message)))
    except Fail as error:
        return Outcome("failed", error=Error.of(error, with_traceback=False, hide=hide, about=error.about))
    except Cancel as error:
        return Outcome("cancelled", error=Error.of(error, with_traceback=False, hide=hide))
    except Snooze as error:
        return Outcome("handed_back", snoozed=error)
    except TimeoutError as error:
        return after_error(job_type, ctx, overtime(job_type, error) if deadline.expired() else error, hide)
    except asyncio.CancelledError as error:
        # a drain, an abort or a lost lease cancels this task; any other comes from something that the job awaited
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return after_error(job_type, ctx, error, hide)
    except (Killed, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # an outcome, never the worker's end: SystemExit, a library's own
        return after_error(job_type, ctx, error, hide)


def after_error(
    job_type: JobType[Any, Any], ctx: Context, error: BaseException, hide: Hide = redaction.hide
) -> Outcome:
    """Another try after the wait that the policy or the job function says; the end if the tries are used up."""
    about = error.about if isinstance(error, Retry) else ""
    recorded = Error.of(error, with_traceback=not isinstance(error, Retry | TimeoutError), hide=hide, about=about)
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


def overtime(job_type: JobType[Any, Any], error: TimeoutError | None = None) -> TimeoutError:
    """The error of an attempt that ran too long. Its traceback shows where the job was when the deadline came."""
    interrupted = error and (error.__cause__ or error)
    said = TimeoutError(f"ran longer than {job_type.timeout_s:g} s")
    return said if interrupted is None else said.with_traceback(interrupted.__traceback__)


def _as_json(returned: Any, hide: Hide) -> Any:
    if returned is None:
        return None
    text = to_json(returned, inf_nan_mode="null").decode()
    value = from_json(text)
    # as a whole first: mostly there is nothing to hide
    return value if hide(text) == text else _hidden(value, hide)


def _hidden(value: Any, hide: Hide) -> Any:
    """The value with its texts as `hide` leaves them; numbers stay, where a secret would be found by chance."""
    texts = list(_texts_in(value))
    # together: to look for a thousand secrets in each of a hundred thousand texts took twenty seconds
    hidden = hide(BETWEEN.join(texts)).split(BETWEEN)
    if len(hidden) != len(texts):  # all is hidden as a whole
        hidden = [text and STARS for text in texts]
    return _with_texts(value, dict(zip(texts, hidden, strict=True)))


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            yield from value
            for part in value.values():
                yield from _texts_in(part)
        case list():
            for part in value:
                yield from _texts_in(part)


def _with_texts(value: Any, texts: Mapping[str, str]) -> Any:
    match value:
        case str():
            return texts[value]
        case dict():
            return {texts[name]: _with_texts(part, texts) for name, part in value.items()}
        case list():
            return [_with_texts(part, texts) for part in value]
        case _:
            return value


def _describe(error: ValidationError) -> str:
    """Says which args are wrong and why, without their values: those may be secret."""
    if error.error_count() > MAX_FAULTS:
        return f"they do not fit in more than {MAX_FAULTS} places"
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'args'}: {fault['msg']}" for fault in faults)
