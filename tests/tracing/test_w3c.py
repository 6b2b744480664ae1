"""The header of a span is written and read as OpenTelemetry's propagators would."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage, propagate
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context
from opentelemetry.trace import get_current_span as span_in

from errand.tracing import w3c

NAMED: dict[str, Any] = {"trace_id": int("1" * 32, 16), "span_id": int("2" * 16, 16), "is_remote": False}


def entered(around: Context | None = None, **more: Any) -> Context:
    return set_span_in_context(NonRecordingSpan(SpanContext(**NAMED, **more)), around or Context())


@pytest.mark.parametrize("flags", range(4))
def test_a_span_that_has_but_a_name_is_written_as_it_would_be(flags: int) -> None:
    context = entered(trace_flags=TraceFlags(flags))
    usual: dict[str, str] = {}
    propagate.inject(usual, context)
    span = w3c.lone_span_in(context)
    assert span is not None and w3c.carrier_of(span) == usual


@pytest.mark.parametrize(
    "context",
    [
        Context(),
        entered(trace_state=TraceState([("a", "b")])),
        entered(baggage.set_baggage("tenant", "acme", Context())),
        set_span_in_context(NonRecordingSpan(SpanContext(0, 0, False)), Context()),
    ],
)
def test_one_that_has_more_is_left_to_the_propagators(context: Context) -> None:
    assert w3c.lone_span_in(context) is None


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"},
        {"traceparent": f"00-{'1' * 32}-{'2' * 16}-02"},
        {"traceparent": f"00-{'0' * 32}-{'2' * 16}-01"},
        {"traceparent": f"00-{'1' * 32}-{'0' * 16}-01"},
        {"traceparent": "nonsense"},
    ],
)
def test_a_header_is_read_as_it_would_be(carrier: dict[str, str]) -> None:
    read, usual = w3c.context_of(carrier), propagate.extract(carrier, context=Context())
    named = span_in(usual).get_span_context()
    assert (read is None) == (not named.is_valid)
    assert read is None or span_in(read).get_span_context() == named


@pytest.mark.parametrize("text", [f"cc-{'1' * 32}-{'2' * 16}-01", f"ff-{'1' * 32}-{'2' * 16}-01"])
def test_headers_of_other_versions_are_left_to_the_propagators(text: str) -> None:
    assert w3c.context_of({"traceparent": text}) is None
