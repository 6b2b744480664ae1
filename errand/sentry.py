"""Sentry for job types: with `errand.sentry` in `JOB_PACKAGES` attempts are transactions, and their errors events.

Sentry's own integration of Arq finds nothing to do here: it wraps `arq.Worker.run_job` and the functions given to
`arq.worker.create_worker`, and Errand's worker calls neither. You call `sentry_sdk.init` yourself, as in any program.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from errand.extras import needs
from errand.job.control import Cancel, Retry, Snooze
from errand.job.hooks import SeenAttempt, on_attempt
from errand.secrets import secret_args

with needs("sentry"):
    import sentry_sdk

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

OPERATION = "queue.process"
"""As Sentry's conventions for queues name the run of a job."""

MEANT = (Retry, Snooze, Cancel)
"""What a job function raises to say what becomes of its job: no error. `Fail` is one: somebody has to look at it."""


@on_attempt()
async def reported(attempt: SeenAttempt) -> AsyncIterator[None]:
    """Makes the attempt a transaction of its own, and its error an event."""
    with sentry_sdk.isolation_scope() as scope, _transaction(attempt):
        scope.set_context("job", _job(attempt))
        scope.set_tag("job.type", attempt.type)
        scope.add_event_processor(_without_secrets(attempt))
        try:
            yield
        except MEANT:
            raise
        except Exception as error:
            scope.set_tag("job.outcome", attempt.outcome)
            sentry_sdk.capture_exception(error)
            raise


@contextmanager
def _transaction(attempt: SeenAttempt) -> Iterator[None]:
    with sentry_sdk.start_transaction(op=OPERATION, name=attempt.type, source="task") as span:
        span.set_data("messaging.message.id", attempt.ctx.job_id)
        span.set_data("messaging.destination.name", attempt.queue)
        span.set_data("messaging.message.retry.count", attempt.ctx.attempt - 1)
        yield


def _job(attempt: SeenAttempt) -> dict[str, Any]:
    ctx = attempt.ctx
    return {
        "type": attempt.type,
        "queue": attempt.queue,
        "id": ctx.job_id,
        "attempt": ctx.attempt,
        "max_tries": ctx.max_tries,
        "enqueued_at": ctx.enqueued_at.isoformat(),
    }


def _without_secrets(attempt: SeenAttempt) -> Any:
    """Sends of an error what the job's own page shows: its message with stars, and no variables of its frames.

    So of each error that it came from, too: they are sent with it.
    """

    hide = secret_args.hider(type(attempt.args), secret_args.kept(attempt.args))

    def process(event: Event, hint: Hint) -> Event:
        exceptions = event.get("exception", {}).get("values", [])
        for exception in exceptions:
            exception["value"] = hide(str(exception.get("value") or ""))
            for frame in (exception.get("stacktrace") or {}).get("frames", []):
                frame.pop("vars", None)
        if exceptions and attempt.error is not None:
            exceptions[-1]["value"] = attempt.error.message
        return event

    return process
