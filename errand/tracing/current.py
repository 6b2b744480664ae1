"""What is traced now, for rooms that put jobs, run them, and do things for them. It costs next to nothing when off."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from errand.tracing.attributes import Attributes, Kind
from errand.wire.origin import NO_ORIGIN, OWN_TRACE, JobOrigin, Origin, origin_at

if TYPE_CHECKING:
    from errand.tracing.spans import Spans

NOTHING: AbstractContextManager[None] = nullcontext()
NOWHERE: AbstractContextManager[Origin] = nullcontext(NO_ORIGIN)

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""That of the request which is answered, or of the job that runs."""


def enter_request(request_id: str | None) -> Token[str | None] | None:
    """What is done from now on belongs to that request, until `leave_request`; to set what is there already costs."""
    return None if REQUEST_ID.get() == request_id else REQUEST_ID.set(request_id)


def leave_request(asked: Token[str | None] | None) -> None:
    if asked is not None:
        REQUEST_ID.reset(asked)


class Switch:
    spans: Spans | None = None


def use(spans: Spans | None) -> None:
    """Switches traces on for this process, or off."""
    Switch.spans = spans


def is_on() -> bool:
    """True if this process makes spans."""
    return Switch.spans is not None


def spans() -> Spans | None:
    """What makes them."""
    return Switch.spans


def origin() -> JobOrigin:
    """The request and the span that are under way, as the origin of a job that was put in them."""
    spans = Switch.spans
    return origin_at(None if spans is None else spans.carrier(), request_id=REQUEST_ID.get())


def putting(
    type_name: str, queue: str, *, job_id: str | None = None, follows: bool = False
) -> AbstractContextManager[Origin]:
    """A span around an enqueue; gives what the jobs come from that are put within it.

    `follows`: they are put by the end of the attempt that is under way. If nothing is recorded of it, there is no span.
    """
    request_id, spans = REQUEST_ID.get(), Switch.spans
    if spans is not None:
        if job_id is not None and request_id is None and not follows and spans.begins_unsampled():
            return OWN_TRACE
        return spans.putting(type_name, queue, job_id, follows=follows, request_id=request_id)
    return NOWHERE if request_id is None else nullcontext(JobOrigin(request_id=request_id))


def note_number(jobs: int) -> None:
    """Says in the span of an enqueue how many jobs it puts."""
    if Switch.spans is not None:
        Switch.spans.note({"messaging.batch.message_count": jobs})


def span(name: str, attributes: Attributes | None = None, *, kind: Kind = "internal") -> AbstractContextManager[Any]:
    """A span around a part of an attempt. An error that passes through it is noted there."""
    return NOTHING if Switch.spans is None else Switch.spans.span(name, attributes or {}, kind=kind)


def note(attributes: Attributes) -> None:
    """Adds these to the span that is under way."""
    if Switch.spans is not None:
        Switch.spans.note(attributes)


def event(name: str) -> None:
    """Notes in the span that is under way that something has happened there."""
    if Switch.spans is not None:
        Switch.spans.event(name)


def ids() -> dict[str, str]:
    """What a log line says of what it belongs to: `trace_id`, `span_id`, `request_id`, if they are known."""
    known = {} if Switch.spans is None else Switch.spans.ids()
    request_id = REQUEST_ID.get()
    return known if request_id is None else {**known, "request_id": request_id}
