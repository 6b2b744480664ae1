"""What is put and run in traces that are not sampled, as most are: nothing is recorded, so spans need only a name.

What a job calls still sees whose child it is, and records nothing either.
"""

from __future__ import annotations

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, TracerProvider, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from errand.wire.origin import PARSED, TRACEPARENT, Carrier

SAMPLED = 1
"""The bit of the flags (W3C Trace Context, section 3.2.2.3.1)."""

USUAL = {TraceContextTextMapPropagator, W3CBaggagePropagator}
"""What writes the headers of a trace, unless `OTEL_PROPAGATORS` says otherwise."""


def are_left_out(provider: TracerProvider) -> bool:
    """True if no child of what was not sampled is sampled, and headers are W3C's: the defaults of OpenTelemetry."""
    sampler, writes = getattr(provider, "sampler", None), propagate.get_global_textmap()
    follows = isinstance(sampler, ParentBased) and getattr(sampler, "_remote_parent_not_sampled", None) is ALWAYS_OFF
    writers = getattr(writes, "_propagators", ()) if isinstance(writes, CompositePropagator) else ()
    return follows and {type(writer) for writer in writers} == USUAL


def parent_in(carrier: Carrier | None) -> Span | None:
    """The span in that carrier if it is not sampled; None for any other, or one that has more than its name."""
    if carrier is None or len(carrier) != 1 or (text := carrier.get(TRACEPARENT)) is None:
        return None
    parsed = PARSED.fullmatch(text)
    if parsed is None or int(parsed[2], 16) & SAMPLED:
        return None
    return NonRecordingSpan(SpanContext(int(parsed[1], 16), int(text[36:52], 16), True, TraceFlags(int(parsed[2], 16))))


def carrier_of(span: Span) -> Carrier | None:
    """The headers of that span if it is not sampled; None for any other, or one that has more than its name."""
    context = span.get_span_context()
    if context.trace_flags & SAMPLED or not context.is_valid or context.trace_state or len(get_current()) != 1:
        return None
    return {TRACEPARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}


class WithinUnsampled:
    """What is done within it is a child of that span, which records nothing."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = attach(set_span_in_context(self._span))
        return self._span

    def __exit__(self, *_: object) -> None:
        detach(self._token)
