"""What goes to a collector is what the SDK would send."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_as_the_sdk
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from errand.tracing import otlp

CONTEXT = SpanContext(2**127, 2**63, False, TraceFlags(3))
PARENT, REMOTE = SpanContext(2**127, 7, False, TraceFlags(1)), SpanContext(2**127, 7, True, TraceFlags(1))
RESOURCE = Resource({"service.name": "errand-worker", "process.pid": 7}, "https://example.org/resource")
SCOPE = InstrumentationScope("errand", "1", "https://example.org/scope", {"a": 1})
USUAL: dict[str, Any] = {
    "name": "process default:noop",
    "context": CONTEXT,
    "parent": REMOTE,
    "resource": RESOURCE,
    "attributes": {"messaging.message.id": "a" * 200, "errand.job.attempt": 1, "errand.job.outcome": "succeeded"},
    "kind": SpanKind.CONSUMER,
    "start_time": 1_764_512_345_678_901_234,
    "end_time": 1_764_512_345_678_901_235,
    "instrumentation_scope": SCOPE,
}
EVENT, LINK = Event("render", {"a": 1}, 5), Link(PARENT, {"a": 1})
ODD = {"list": ("a", "b"), "large": 2**63, "half": "\ud800", "none": None, "map": {"a": 1}, "bytes": b"a"}


def span(**fields: Any) -> ReadableSpan:
    return ReadableSpan(**{**USUAL, **fields})


def both(*spans: ReadableSpan) -> tuple[ExportTraceServiceRequest, ExportTraceServiceRequest]:
    written = otlp.encode_spans(spans).SerializePartialToString()
    return ExportTraceServiceRequest.FromString(written), encode_as_the_sdk(spans)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parent": None, "attributes": {}, "name": "ü" * 100},
        {"parent": PARENT, "attributes": None},
        *({"kind": kind} for kind in SpanKind),
        {"attributes": {"yes": True, "no": False, "one": 1, "zero": 0, "minus": -1, "least": -(2**63), "part": 0.5}},
        {"status": Status(StatusCode.OK)},
        {"status": Status(StatusCode.ERROR, "ValueError: no")},
        {"status": Status(StatusCode.ERROR)},
    ],
)
def test_a_span_is_written_as_the_sdk_would(fields: dict[str, Any]) -> None:
    assert otlp._span(span(**fields)) is not None
    ours, theirs = both(span(**fields))
    assert ours == theirs


@pytest.mark.parametrize(
    "fields",
    [
        {"events": (EVENT,)},
        {"links": (LINK,)},
        {"context": SpanContext(1, 1, False, TraceFlags(1), TraceState([("a", "b")]))},
        *({"attributes": {name: value}} for name, value in ODD.items()),
    ],
)
def test_one_that_is_not_usual_is_left_to_the_sdk_and_sent_with_the_others(fields: dict[str, Any]) -> None:
    assert otlp._span(span(**fields)) is None
    ours, _ = both(span(), span(**fields), span())
    usual, odd = ours.resource_spans
    assert [usual.resource, odd.resource] == [encode_as_the_sdk([span()]).resource_spans[0].resource] * 2
    assert len(usual.scope_spans[0].spans) == 2
    assert [odd] == list(encode_as_the_sdk([span(**fields)]).resource_spans)


def test_a_long_text_is_not_kept_in_memory() -> None:
    otlp._kept.cache_clear()
    ours, theirs = both(span(attributes={"db.query.text": "a" * 100_000, "errand.job.attempt": 1}))
    assert ours == theirs
    assert otlp._kept.cache_info().currsize == 1


def test_spans_of_several_programs_and_scopes_stay_apart() -> None:
    other = Resource({"service.name": "app"})
    ours, theirs = both(span(), span(resource=other), span(name="b"))
    assert list(ours.resource_spans) == list(theirs.resource_spans)
    ours, _ = both(span(), span(instrumentation_scope=None), span(name="b"))
    assert [[one.name for one in each.scope_spans[0].spans] for each in ours.resource_spans] == [
        ["process default:noop", "b"],
        ["process default:noop"],
    ]


def test_the_exporter_writes_so(monkeypatch: pytest.MonkeyPatch) -> None:
    exporting: Any = trace_exporter
    for before, after in ((encode_as_the_sdk, otlp.encode_spans), (print, print)):
        monkeypatch.setattr(exporting, "encode_spans", before)
        otlp.use_here()
        assert exporting.encode_spans is after
