"""The context of a span as W3C's header, written and read without OpenTelemetry's propagators.

They look for baggage and a tracestate as well. A trace of two spans spends a tenth of its processor time there.
"""

from __future__ import annotations

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from errand.wire.origin import PARSED, TRACEPARENT, Carrier

USUAL = {TraceContextTextMapPropagator, W3CBaggagePropagator}
"""What writes the headers of a trace, unless `OTEL_PROPAGATORS` says otherwise."""

(SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())


def is_usual() -> bool:
    """True if headers are W3C's, the default of OpenTelemetry."""
    writes = propagate.get_global_textmap()
    writers = {type(writer) for writer in getattr(writes, "_propagators", ())}
    return isinstance(writes, CompositePropagator) and writers == USUAL


def lone_span_in(context: Context) -> SpanContext | None:
    """The span of that context; None if there is none, or the headers would say more than its name."""
    if len(context) != 1:
        return None
    span = get_current_span(context).get_span_context()
    return None if span.trace_state or not span.is_valid else span


def carrier_of(span: SpanContext) -> Carrier:
    return {TRACEPARENT: traceparent(span.trace_id, span.span_id, span.trace_flags)}


def traceparent(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def context_of(carrier: Carrier) -> Context | None:
    """That of the span which is named there; None if none is, or there is more than its name."""
    span = span_of(carrier)
    return None if span is None else Context({SPAN_KEY: NonRecordingSpan(span)})


def span_of(carrier: Carrier) -> SpanContext | None:
    """The same span, without a context."""
    text = carrier.get(TRACEPARENT, "")
    if len(carrier) != 1 or not text.startswith("00-") or not PARSED.fullmatch(text):
        return None
    span = span_named(text)
    return span if span.is_valid else None


def span_named(text: str) -> SpanContext:
    """By a `traceparent`; it is in another program."""
    return SpanContext(int(text[3:35], 16), int(text[36:52], 16), True, TraceFlags(int(text[53:], 16)))
