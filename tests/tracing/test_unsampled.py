"""What is not sampled is decided by the sampler's own rule, and handed on without a span."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext, get_current_span

from errand.tracing import current, unsampled
from errand.tracing.spans import Spans
from errand.tracing.unsampled import CURRENT, RootSampling, _AsItIs, are_left_out
from errand.wire.origin import UnsampledOrigin

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
        with current.putting("noop", "default") as origin:
            if isinstance(origin, UnsampledOrigin):
                assert not get_current_span().get_span_context().is_valid, "no span is made for it"
                left_out.add(int(origin.trace_id or "", 16))
    sampled = {span.context.trace_id for span in exporter.get_finished_spans()}
    assert len(sampled) + len(left_out) == 500 and min(len(sampled), len(left_out)) > 150
    assert all(map(is_below_half, sampled)) and not any(map(is_below_half, left_out))


def test_what_is_put_within_a_trace_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = provider_by(ParentBased(ALWAYS_OFF))
    monkeypatch.setattr(current._Switch, "spans", Spans(provider))
    with provider.get_tracer("app").start_as_current_span("request") as request:
        with current.putting("noop", "default") as put:
            pass
        with current.putting("noop", "default", follows=True) as follows:
            pass
    context: SpanContext = request.get_span_context()
    assert put.trace_id == f"{context.trace_id:032x}" and put.follows is None
    assert put.parent is not None and f"{context.span_id:016x}" not in put.parent["traceparent"]
    assert follows.parent is None and follows.follows is not None
    assert follows.follows["traceparent"].startswith(f"00-{context.trace_id:032x}-")
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize("where", [CURRENT, _AsItIs()])
def test_a_job_is_entered_in_what_is_current_and_left_again(where: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsampled, "CURRENT", where)
    around = attach(baggage.set_baggage("tenant", "acme"))
    token = unsampled.enter(UnsampledOrigin.of(f"00-{'1' * 32}-{'2' * 16}-02"))
    inside = get_current_span().get_span_context()
    assert (inside.trace_id, inside.span_id) == (int("1" * 32, 16), int("2" * 16, 16)) and inside.is_remote
    assert baggage.get_baggage("tenant") == "acme"
    where.reset(token)
    assert not get_current_span().get_span_context().is_valid
    detach(around)


def test_what_is_put_with_baggage_hands_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, _ = provider_by(ParentBased(ALWAYS_OFF))
    monkeypatch.setattr(current._Switch, "spans", Spans(provider))
    around = attach(baggage.set_baggage("tenant", "acme"))
    with current.putting("noop", "default") as origin:
        assert origin.parent is not None and origin.parent["baggage"] == "tenant=acme"
    detach(around)


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
