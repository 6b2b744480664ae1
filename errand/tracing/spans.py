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
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer, TracerProvider

from errand.secrets import redaction
from errand.tracing import unsampled, w3c
from errand.tracing.attempts import OfAttempt
from errand.tracing.attributes import Attributes, Kind
from errand.tracing.lazily import LAZILY, Later
from errand.tracing.unmade import NO_TRACEBACKS, Recorder, Unmade
from errand.tracing.unsampled import RootSampling
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

Ours = Span | Unmade

_current = get_current if LAZILY is None else LAZILY.get_current

KINDS: Mapping[Kind, SpanKind] = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}


class Within:
    """A span is what is under way, and ends with it. An error that passes through it is noted there."""

    __slots__ = ("_entered", "_notes_errors", "_span")

    def __init__(self, span: Ours, *, notes_errors: bool = True) -> None:
        self._span, self._notes_errors = span, notes_errors

    def __enter__(self) -> Ours:
        span = self._span
        self._entered = attach(Later(span) if isinstance(span, Unmade) else trace.set_span_in_context(span))
        return span

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        detach(self._entered)
        if self._notes_errors and isinstance(error, Exception):
            note_error(self._span, type(error).__name__, redaction.hide(str(error)))
        self._span.end()


class Put:
    """The same around an enqueue; gives what the jobs come from that are put within it."""

    __slots__ = ("_origin", "_within")

    def __init__(self, span: Ours, origin: Callable[[], Origin]) -> None:
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
        self.lazily = LAZILY if self._leaves_out_unsampled else None
        """Has the contexts of attempts that are not sampled; if there is none, they are entered."""
        self._roots = roots = RootSampling.of(provider) if self._leaves_out_unsampled else None
        self._named_by_jobs = None if self.lazily is None or roots is None or not roots.are_named_by_jobs else roots
        self._recorder = None if self.lazily is None or roots is None else Recorder.of(provider, roots)

    def carrier(self) -> Carrier | None:
        """The context of the span that is under way, as headers."""
        if self._is_w3c and (span := _lone_span_here()) is not None:
            return w3c.carrier_of(span)
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return {name: text for name, text in carrier.items() if len(text) <= MAX_CHARS} or None

    def ids(self) -> dict[str, str]:
        """Those of the span that is under way, in hexadecimal."""
        context = _span_here().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    def begins_unsampled(self) -> bool:
        """True if a job that is put here begins a trace of which nothing is recorded; it is then taken as put."""
        roots, lazily = self._named_by_jobs, self.lazily
        if roots is None or lazily is None or roots.left <= 0:
            return False
        if lazily.kept.get() is not lazily.nothing or OfAttempt.under_way.get(None) is not None:
            return False
        roots.left -= 1
        return True

    def putting(
        self, type_name: str, queue: str, job_id: str | None, *, follows: bool, request_id: str | None
    ) -> AbstractContextManager[Origin]:
        """A span, and what a job comes from that is put within it; if it would not be sampled, just that."""
        parent, roots = _lone_span_here(), None
        left_out: OriginAtEnd | None = None
        if parent is not None:
            left_out = unsampled.child_of(parent) if self._leaves_out_unsampled else None
        elif self._roots is not None and not _current():
            roots = self._roots
            has_own = job_id is not None and request_id is None and not follows
            if (left_out := roots.draw(has_own)) is OWN_TRACE:
                return left_out
        if left_out is None:
            attributes = _of_message(type_name, queue, operation=("enqueue", "send"))
            if job_id is not None:
                attributes["messaging.message.id"] = job_id
            span = self._enqueue(f"enqueue {queue}:{type_name}", attributes, parent, roots)
            return Put(span, lambda: origin_at(self._carrier_of(span), follows=follows, request_id=request_id))
        if isinstance(left_out, UnsampledOrigin) and (follows or request_id is not None):
            return nullcontext(origin_at(left_out.parent, follows=follows, request_id=request_id))
        return left_out

    def _enqueue(
        self, name: str, attributes: dict[str, Any], parent: SpanContext | None, roots: RootSampling | None
    ) -> Ours:
        """The span of an enqueue. `roots`: it is the first of a trace that is sampled by these."""
        if (unmade := self._unmade_child(parent, name, SpanKind.PRODUCER, attributes)) is not None:
            return unmade
        recorder = self._recorder
        if roots is not None and recorder is not None and recorder.suffices():
            return recorder.root(name, SpanKind.PRODUCER, attributes)
        tracer = self._tracer if roots is None else roots.tracer
        return tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=attributes, **NO_TRACEBACKS)

    def _carrier_of(self, span: Ours) -> Carrier | None:
        """That of a span which is under way."""
        return w3c.carrier_of(span.context) if isinstance(span, Unmade) else self.carrier()

    def span(self, name: str, attributes: Attributes, *, kind: Kind) -> AbstractContextManager[Ours]:
        unmade = self._unmade_child(_lone_span_here(), name, KINDS[kind], dict(attributes))
        if unmade is not None:
            return Within(unmade)
        return Within(self._tracer.start_span(name, kind=KINDS[kind], attributes=attributes, **NO_TRACEBACKS))

    def note(self, attributes: Attributes) -> None:
        span = _span_here()
        for name, value in attributes.items():
            span.set_attribute(name, value)

    def event(self, name: str) -> None:
        trace.get_current_span().add_event(name)

    def left_out(self, origin: Origin, *, job_id: str) -> UnsampledOrigin | None:
        """The span that put a job, if nothing is recorded of that trace: its first attempt needs no span of its own."""
        return unsampled.parent_in(origin, job_id=job_id) if self._leaves_out_unsampled else None

    def enters_lazily(self) -> bool:
        """True if what asks for OpenTelemetry's context here is given that of the attempt; else that is entered."""
        lazily = self.lazily
        return lazily is not None and lazily.kept.get() is lazily.nothing

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
    ) -> AbstractContextManager[Ours]:
        """The span of an attempt: a child of the enqueue if it is the first, else a trace of its own with a link."""
        origin, name = with_names(origin, job_id=job_id), f"process {queue}:{type_name}"
        attributes = _of_message(type_name, queue, operation=("process", "process"))
        attributes |= {"messaging.message.id": job_id, "errand.job.attempt": number}
        if number == 1 and origin.parent is not None and origin.follows is None and self.enters_lazily():
            unmade = self._unmade_child(w3c.span_of(origin.parent), name, SpanKind.CONSUMER, attributes)
            if unmade is not None:
                return Within(unmade, notes_errors=False)
        parent = self._context_of(origin.parent)
        is_child = number == 1 and parent is not None
        linked = [None if is_child else parent, self._context_of(origin.follows)]
        span = self._tracer_in(parent if is_child else None).start_span(
            name,
            context=parent if is_child else Context(),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[_link_to(context) for context in linked if context is not None],
            **NO_TRACEBACKS,
        )
        return Within(span, notes_errors=False)

    def _unmade_child(
        self, parent: SpanContext | None, name: str, kind: SpanKind, attributes: dict[str, Any]
    ) -> Unmade | None:
        """A child of that span; None if it may not be sampled, or something else than an exporter is to see it."""
        recorder = self._recorder
        if parent is None or recorder is None or not parent.trace_flags.sampled:
            return None
        if not recorder.roots.follows_parents or not recorder.suffices():
            return None
        return recorder.child(parent, name, kind, attributes)

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
    def end_attempt(span: Ours, outcome: str, error: tuple[str, str] | None) -> None:
        """Says how it ended; `error`: its class and its message, which has no secrets."""
        span.set_attribute("errand.job.outcome", outcome)
        if error is not None:
            note_error(span, *error)


def _span_here() -> Ours:
    """The span that is under way; it is not made for that."""
    return _unmade_here() or trace.get_current_span()


def _lone_span_here() -> SpanContext | None:
    """Its name; None if there is none, or headers would say more than that."""
    unmade = _unmade_here()
    return w3c.lone_span_in(_current()) if unmade is None else unmade.context


def _unmade_here() -> Unmade | None:
    entered = None if LAZILY is None else LAZILY.kept.get()
    return entered.of if type(entered) is Later and isinstance(entered.of, Unmade) else None


def note_error(span: Ours, kind: str, message: str) -> None:
    """Says that what the span is about went wrong; the message has no secrets."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, f"{kind}: {message}")


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
