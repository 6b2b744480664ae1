"""What is not sampled is decided by the sampler's own rule, and handed on without a span."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext, get_current_span

from errand.tracing import current
from errand.tracing.spans import Spans
from errand.tracing.unsampled import RootSampling, are_left_out

HALF = TraceIdRatioBased(0.5)


def provider_by(sampler: Sampler) -> tuple[TracerProvider, InMemorySpanExporter]:
    provider, exporter = TracerProvider(sampler=sampler), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def is_below_half(trace_id: int) -> bool:
    return trace_id & HALF.TRACE_ID_LIMIT < HALF.bound


def test_half_of_the_traces_are_sampled_those_whose_ids_the_sampler_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = provider_by(ParentBased(HALF))
    monkeypatch.setattr(current._Switch, "spans", Spans(provider))
    left_out = set()
    for _ in range(500):
        with current.putting("noop", "default") as carrier:
            origin = current.origin(carrier)
            if carrier is not None:
                assert not get_current_span().get_span_context().is_valid, "no span is made for it"
                left_out.add(int(origin.trace_id or "", 16))
    sampled = {span.context.trace_id for span in exporter.get_finished_spans()}
    assert len(sampled) + len(left_out) == 500 and min(len(sampled), len(left_out)) > 150
    assert all(map(is_below_half, sampled)) and not any(map(is_below_half, left_out))


def test_what_is_put_within_a_trace_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = provider_by(ParentBased(ALWAYS_OFF))
    monkeypatch.setattr(current._Switch, "spans", Spans(provider))
    with provider.get_tracer("app").start_as_current_span("request") as request:
        with current.putting("noop", "default") as carrier:
            put = current.origin(carrier)
            follows = current.origin(carrier, follows=True).follows
    context: SpanContext = request.get_span_context()
    assert put.trace_id == f"{context.trace_id:032x}" and put.parent == follows
    assert put.parent is not None and f"{context.span_id:016x}" not in put.parent["traceparent"]
    assert exporter.get_finished_spans() == ()


class Own(Sampler):
    """A program's."""

    def should_sample(self, *args: object, **options: object) -> object:  # type: ignore[override]
        return ALWAYS_ON.should_sample(*args, **options)  # type: ignore[arg-type]

    def get_description(self) -> str:
        return "Own"


@pytest.mark.parametrize("sampler", [Own(), ParentBased(Own()), ParentBased(HALF, local_parent_not_sampled=ALWAYS_ON)])
def test_a_sampler_with_rules_of_its_own_is_asked_each_time(sampler: Sampler) -> None:
    provider, _ = provider_by(sampler)
    assert not are_left_out(provider) or RootSampling.of(provider) is None
