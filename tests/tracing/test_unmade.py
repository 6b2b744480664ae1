"""A span that nothing looks at is recorded as the SDK would, and is the SDK's once something does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from errand.tracing import current
from errand.tracing.spans import Spans
from errand.tracing.unmade import Unmade
from errand.wire.origin import JobOrigin, Origin

JOB: dict[str, Any] = {"type_name": "noop", "queue": "default", "job_id": "a"}
DIFFERENT = ("trace_id", "span_id", "parent_id", "start_time", "end_time", "timestamp")


def on(**options: Any) -> tuple[TracerProvider, InMemorySpanExporter]:
    provider, exporter = TracerProvider(sampler=ParentBased(ALWAYS_ON), **options), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    current.use(Spans(provider))
    return provider, exporter


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    yield
    current.use(None)


def put() -> Origin:
    with current.putting("noop", "default", job_id="a") as origin:
        return origin


def attempt(origin: Origin) -> Any:
    spans = current.spans()
    assert spans is not None
    return spans.attempt(origin, number=1, **JOB)


def put_and_run(error: tuple[str, str] | None) -> None:
    with attempt(put()) as span:
        Spans.end_attempt(span, "failed" if error else "succeeded", error)


def alike(span: ReadableSpan) -> Any:
    """All that is in it, but for what is drawn or timed."""
    record = json.loads(span.to_json())
    for fields in (record, record["context"], *record["events"]):
        for name in DIFFERENT:
            fields.pop(name, None)
    return record, span.instrumentation_scope, span.dropped_attributes, span.dropped_events, span.dropped_links


@pytest.mark.parametrize("error", [None, ("ValueError", "no")])
def test_it_is_recorded_as_the_sdk_would(error: tuple[str, str] | None) -> None:
    _, exporter = on()
    put_and_run(error)
    provider, usual = on()
    provider.add_span_processor(SpanProcessor())
    put_and_run(error)
    ours, theirs = exporter.get_finished_spans(), usual.get_finished_spans()
    assert list(map(alike, ours)) == list(map(alike, theirs))
    for enqueue, process in (ours, theirs):
        assert process.parent is not None and process.parent.is_remote
        assert (process.parent.trace_id, process.parent.span_id) == (enqueue.context.trace_id, enqueue.context.span_id)
        assert process.context.trace_flags == enqueue.context.trace_flags == process.parent.trace_flags
        assert enqueue.start_time <= enqueue.end_time <= process.start_time <= process.end_time  # type: ignore[operator]


def test_what_asks_for_the_current_span_is_given_the_sdks_which_is_then_recorded() -> None:
    provider, exporter = on()
    origin = put()
    with attempt(origin) as unmade:
        assert isinstance(unmade, Unmade) and unmade.made is None
        assert current.ids()["span_id"] == f"{unmade.context.span_id:016x}"
        current.note({"noted": 1})
        assert unmade.made is None, "Errand's own notes need none"
        span = trace.get_current_span()
        assert isinstance(span, Span) and span is trace.get_current_span()
        assert span.get_span_context() == unmade.get_span_context()
        span.set_attribute("own", "yes")
        with provider.get_tracer("app").start_as_current_span("call"):
            pass
        Spans.end_attempt(unmade, "failed", ("ValueError", "no"))
    _, call, process = exporter.get_finished_spans()
    assert call.parent == process.context == unmade.context
    assert process.attributes is not None and process.status.description == "ValueError: no"
    assert {
        name: process.attributes[name] for name in ("own", "noted", "errand.job.outcome", "messaging.message.id")
    } == {
        "own": "yes",
        "noted": 1,
        "errand.job.outcome": "failed",
        "messaging.message.id": "a",
    }


def refused() -> None:
    with current.span("smtp send", {"a": 1, "b": 0.5}, kind="client"):
        current.event("greeted")
        raise ValueError("refused")


def letter(job: Origin) -> None:
    """An attempt with a span in it, of which an event and an error are noted, and a job that follows."""
    with attempt(job):
        with pytest.raises(ValueError, match="refused"):
            refused()
        with current.putting("after", "default", job_id="b", follows=True) as origin:
            assert isinstance(origin, JobOrigin) and origin.follows == current.origin().parent


def test_what_an_attempt_does_is_recorded_as_the_sdk_would() -> None:
    _, exporter = on()
    letter(put())
    provider, usual = on()
    provider.add_span_processor(SpanProcessor())
    letter(put())
    ours, theirs = (sorted(each.get_finished_spans(), key=lambda span: span.name) for each in (exporter, usual))
    assert list(map(alike, ours)) == list(map(alike, theirs))
    for added, _, process, sent in (ours, theirs):
        assert sent.parent == added.parent == process.context
        assert sent.status.description == "ValueError: refused" and len(sent.events) == 1


def test_an_attempt_that_has_spans_of_errands_own_in_it_needs_none_of_the_sdks() -> None:
    on()
    with attempt(put()) as unmade, current.span("image render", {"a": 1}) as inner:
        assert isinstance(inner, Unmade) and inner.parent == unmade.context
        assert unmade.made is inner.made is None


def test_what_is_put_within_a_span_of_the_program_is_its_child() -> None:
    provider, exporter = on()
    with provider.get_tracer("app").start_as_current_span("request"):
        put()
    enqueue, request = exporter.get_finished_spans()
    assert enqueue.parent == request.context


def test_what_is_called_while_a_job_is_put_is_a_child_of_the_enqueue() -> None:
    provider, exporter = on()
    with current.putting("noop", "default") as origin, provider.get_tracer("redis").start_as_current_span("EVALSHA"):
        pass
    call, enqueue = exporter.get_finished_spans()
    assert call.parent == enqueue.context and isinstance(origin, JobOrigin) and origin.parent is not None
    assert origin.parent["traceparent"].split("-")[2] == f"{enqueue.context.span_id:016x}"


def test_an_error_that_passes_through_an_enqueue_is_noted() -> None:
    _, exporter = on()
    with pytest.raises(ValueError, match="full"), current.putting("noop", "default"):
        raise ValueError("full")
    (enqueue,) = exporter.get_finished_spans()
    assert enqueue.status.description == "ValueError: full"


async def test_what_outlives_an_attempt_still_belongs_to_it() -> None:
    _, exporter = on()
    goes_on = asyncio.Event()

    async def outlives() -> trace.Span:
        await goes_on.wait()
        return trace.get_current_span()

    with attempt(put()) as unmade:
        task = asyncio.create_task(outlives())
        await asyncio.sleep(0)
    goes_on.set()
    seen = await task
    assert seen.get_span_context() == unmade.get_span_context() and not seen.is_recording()
    assert [span.name.partition(" ")[0] for span in exporter.get_finished_spans()] == ["enqueue", "process"]


class Starts(SpanProcessor):
    """A program's own, which wants to know when spans begin."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.names.append(span.name)


def test_a_processor_that_is_added_later_sees_spans_begin() -> None:
    provider, exporter = on()
    put()
    provider.add_span_processor(starts := Starts())
    put_and_run(None)
    assert starts.names == ["enqueue default:noop", "process default:noop"]
    assert len(exporter.get_finished_spans()) == 3


@pytest.mark.parametrize("limits", [{"max_span_attributes": 2}, {"max_span_attribute_length": 3}])
def test_spans_that_are_to_be_short_are_the_sdks(limits: dict[str, int]) -> None:
    _, exporter = on(span_limits=SpanLimits(**limits))
    with attempt(put()) as span:
        assert isinstance(span, Span)
    (_, process) = exporter.get_finished_spans()
    assert process.attributes is not None
    assert len(process.attributes) == limits.get("max_span_attributes", 7)
    assert max(len(str(value)) for value in process.attributes.values()) <= limits.get("max_span_attribute_length", 99)


def test_within_what_a_program_has_entered_spans_are_the_sdks() -> None:
    _, exporter = on()
    origin = put()
    around = attach(trace.set_span_in_context(trace.NonRecordingSpan(exporter.get_finished_spans()[0].context)))
    with attempt(origin) as span:
        assert isinstance(span, Span) and get_current() is not None
    detach(around)


def test_spans_that_are_counted_are_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    on()
    with attempt(put()) as span:
        assert isinstance(span, Span)
