"""The spans of jobs, named as OpenTelemetry's semantic conventions for messaging name those of messages.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/: a job is a message, its queue and its type
together are the destination, an enqueue is a `send`, an attempt a `process`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, TracerProvider

from errand.secrets import redaction
from errand.tracing import unsampled, w3c
from errand.tracing.attributes import Attributes, Kind
from errand.version import VERSION
from errand.wire.origin import (
    MAX_CHARS,
    OWN_TRACE,
    Carrier,
    Origin,
    OriginAtEnd,
    UnsampledOrigin,
    origin_at,
    with_names,
)

SYSTEM = "errand"

NO_TRACEBACKS: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
"""The SDK would write down errors as they are, and there may be secrets in them."""

_current = get_current if unsampled.LAZILY is None else unsampled.LAZILY.get_current

KINDS: Mapping[Kind, SpanKind] = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class Within:
    """A span is what is under way, and ends with it. An error that passes through it is noted there."""

    __slots__ = ("_entered", "_notes_errors", "_span")

    def __init__(self, span: Span, *, notes_errors: bool = True) -> None:
        self._span, self._notes_errors = span, notes_errors

    def __enter__(self) -> Span:
        self._entered = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        detach(self._entered)
        if self._notes_errors and isinstance(error, Exception):
            note_error(self._span, type(error).__name__, redaction.hide(str(error)))
        self._span.end()


class Put:
    """The same around an enqueue; gives what the jobs come from that are put within it."""

    __slots__ = ("_origin", "_within")

    def __init__(self, span: Span, origin: Callable[[], Origin]) -> None:
        self._within, self._origin = Within(span), origin

    def __enter__(self) -> Origin:
        self._within.__enter__()
        return self._origin()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._within.__exit__(kind, error, traceback)


class Spans:
    """Makes the spans of this process, by that provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("errand", VERSION)
        self._is_w3c = w3c.is_usual()
        self._leaves_out_unsampled = unsampled.are_left_out(provider)
        self._lazily = unsampled.LAZILY if self._leaves_out_unsampled else None
        self._roots = unsampled.RootSampling.of(provider) if self._leaves_out_unsampled else None

    def carrier(self) -> Carrier | None:
        """The context of the span that is under way, as headers."""
        if self._is_w3c and (span := w3c.lone_span_in(_current())) is not None:
            return w3c.carrier_of(span)
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return {name: text for name, text in carrier.items() if len(text) <= MAX_CHARS} or None

    def ids(self) -> dict[str, str]:
        """Those of the span that is under way, in hexadecimal."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    def putting(
        self, type_name: str, queue: str, job_id: str | None, *, follows: bool, request_id: str | None
    ) -> AbstractContextManager[Origin]:
        """A span, and what a job comes from that is put within it; if it would not be sampled, just that."""
        context, tracer = _current(), self._tracer
        left_out: OriginAtEnd | None = None
        if context:
            left_out = unsampled.child_in(context) if self._leaves_out_unsampled else None
        elif self._roots is not None:
            has_own = job_id is not None and request_id is None and not follows
            if (left_out := self._roots.draw(has_own)) is OWN_TRACE:
                return left_out
            tracer = self._roots.tracer
        if left_out is None:
            span = tracer.start_span(f"enqueue {queue}:{type_name}", **_options_of_enqueue(type_name, queue, job_id))
            return Put(span, lambda: origin_at(self.carrier(), follows=follows, request_id=request_id))
        if isinstance(left_out, UnsampledOrigin) and (follows or request_id is not None):
            return nullcontext(origin_at(left_out.parent, follows=follows, request_id=request_id))
        return left_out

    def span(self, name: str, attributes: Attributes, *, kind: Kind) -> AbstractContextManager[Span]:
        return Within(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes, **NO_TRACEBACKS))

    def note(self, attributes: Attributes) -> None:
        trace.get_current_span().set_attributes(attributes)

    def event(self, name: str) -> None:
        trace.get_current_span().add_event(name)

    def left_out(self, origin: Origin, *, job_id: str) -> UnsampledOrigin | None:
        """The span that put a job, if nothing is recorded of that trace: its first attempt needs no span of its own."""
        return unsampled.parent_in(origin, job_id=job_id) if self._leaves_out_unsampled else None

    def enters_lazily(self) -> bool:
        """True if what asks for OpenTelemetry's context here is given that of the attempt; else that is entered."""
        return self._lazily is not None and self._lazily.is_untouched()

    @staticmethod
    def context_in(parent: UnsampledOrigin) -> Context:
        """That of what is a child of the span."""
        return unsampled.context_in(parent, Context())

    @staticmethod
    def enter(parent: UnsampledOrigin) -> Token[Context]:
        """What is done from now on is a child of that span, until `leave`."""
        return attach(unsampled.context_in(parent, get_current()))

    leave = staticmethod(detach)

    def attempt(
        self, origin: Origin, *, number: int, type_name: str, queue: str, job_id: str
    ) -> AbstractContextManager[Span]:
        """The span of an attempt: a child of the enqueue if it is the first, else a trace of its own with a link."""
        origin = with_names(origin, job_id=job_id)
        parent = self._context_of(origin.parent)
        is_child = number == 1 and parent is not None
        attributes = _of_message(type_name, queue, operation=("process", "process"))
        attributes |= {"messaging.message.id": job_id, "errand.job.attempt": number}
        linked = [None if is_child else parent, self._context_of(origin.follows)]
        span = self._tracer_in(parent if is_child else None).start_span(
            f"process {queue}:{type_name}",
            context=parent if is_child else Context(),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[_link_to(context) for context in linked if context is not None],
            **NO_TRACEBACKS,
        )
        return Within(span, notes_errors=False)

    def _tracer_in(self, parent: Context | None) -> Tracer:
        """What makes the span of an attempt: if it is sampled, without asking the sampler."""
        roots = self._roots
        if parent is None or roots is None or not roots.follows_parents:
            return self._tracer
        return roots.tracer if trace.get_current_span(parent).get_span_context().trace_flags.sampled else self._tracer

    def _context_of(self, carrier: Carrier | None) -> Context | None:
        """None if it names no span."""
        if carrier is None:
            return None
        if self._is_w3c and (known := w3c.context_of(carrier)) is not None:
            return known
        context = propagate.extract(carrier, context=Context())
        return context if trace.get_current_span(context).get_span_context().is_valid else None

    @staticmethod
    def end_attempt(span: Span, outcome: str, error: tuple[str, str] | None) -> None:
        """Says how it ended; `error`: its class and its message, which has no secrets."""
        span.set_attribute("errand.job.outcome", outcome)
        if error is not None:
            note_error(span, *error)


def note_error(span: Span, kind: str, message: str) -> None:
    """Says that what the span is about went wrong; the message has no secrets."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, f"{kind}: {message}")


def _options_of_enqueue(type_name: str, queue: str, job_id: str | None) -> dict[str, Any]:
    attributes = _of_message(type_name, queue, operation=("enqueue", "send"))
    if job_id is not None:
        attributes["messaging.message.id"] = job_id
    return {"kind": SpanKind.PRODUCER, "attributes": attributes, **NO_TRACEBACKS}


def _of_message(type_name: str, queue: str, *, operation: tuple[str, str]) -> dict[str, Any]:
    name, kind = operation
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": f"{queue}:{type_name}",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "errand.job.type": type_name,
    }


def _link_to(context: Context) -> Link:
    return Link(trace.get_current_span(context).get_span_context())
