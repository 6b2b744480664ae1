"""What is not sampled is decided by the sampler's own rule, and handed on without a span."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext, get_current_span

from errand.tracing import current
from errand.tracing.resource import HashedOnce
from errand.tracing.spans import Spans
from errand.tracing.unsampled import RootSampling, are_left_out
from errand.wire.job_id import new_job_id
from errand.wire.origin import OWN_TRACE, JobOrigin, UnsampledOrigin, with_names

HALF = TraceIdRatioBased(0.5)


def provider_by(sampler: Sampler) -> tuple[TracerProvider, InMemorySpanExporter]:
    provider, exporter = TracerProvider(sampler=sampler), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def is_below_half(trace_id: int) -> bool:
    return trace_id & HALF.TRACE_ID_LIMIT < HALF.bound


@pytest.mark.parametrize("job_id", [new_job_id, lambda: None], ids=["one job", "many"])
def test_half_of_the_traces_are_sampled_those_whose_ids_the_sampler_would_take(
    job_id: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, exporter = provider_by(ParentBased(HALF))
    monkeypatch.setattr(current.Switch, "spans", Spans(provider))
    left_out = set()
    for put_id in (job_id() for _ in range(500)):
        with current.putting("noop", "default", job_id=put_id) as origin:
            assert (origin is OWN_TRACE) <= (put_id is not None)
            named = with_names(origin, job_id=put_id or "")
            if isinstance(named, UnsampledOrigin):
                assert not get_current_span().get_span_context().is_valid, "no span is made for it"
                left_out.add(int(named.trace_id, 16))
    sampled = {span.context.trace_id for span in exporter.get_finished_spans()}
    assert len(sampled) + len(left_out) == 500 and min(len(sampled), len(left_out)) > 150
    assert all(map(is_below_half, sampled)) and not any(map(is_below_half, left_out))


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.0, 0, 0), (0.01, 800, 1200), (1.0, 100_000, 100_000)])
def test_as_many_are_sampled_as_the_sampler_says(ratio: float, least: int, most: int) -> None:
    roots = RootSampling.of(provider_by(ParentBased(TraceIdRatioBased(ratio)))[0])
    assert roots is not None
    assert least <= sum(roots.draw(True) is None for _ in range(100_000)) <= most


def test_what_is_put_within_a_trace_belongs_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, exporter = provider_by(ParentBased(ALWAYS_OFF))
    monkeypatch.setattr(current.Switch, "spans", Spans(provider))
    with provider.get_tracer("app").start_as_current_span("request") as request:
        with current.putting("noop", "default") as put:
            pass
        with current.putting("noop", "default", follows=True) as follows:
            pass
    assert isinstance(put, UnsampledOrigin)
    assert isinstance(follows, JobOrigin)
    context: SpanContext = request.get_span_context()
    assert put.trace_id == f"{context.trace_id:032x}" and put.follows is None
    assert f"{context.span_id:016x}" not in put.parent["traceparent"]
    assert follows.parent is None and follows.follows is not None
    assert follows.follows["traceparent"].startswith(f"00-{context.trace_id:032x}-")
    assert exporter.get_finished_spans() == ()


def test_a_job_is_entered_in_what_is_current_and_left_again() -> None:
    around = attach(baggage.set_baggage("tenant", "acme"))
    token = Spans.enter(UnsampledOrigin.of(f"00-{'1' * 32}-{'2' * 16}-02"))
    inside = get_current_span().get_span_context()
    assert (inside.trace_id, inside.span_id) == (int("1" * 32, 16), int("2" * 16, 16)) and inside.is_remote
    assert baggage.get_baggage("tenant") == "acme"
    Spans.leave(token)
    assert not get_current_span().get_span_context().is_valid
    detach(around)


def test_what_is_put_with_baggage_hands_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    provider, _ = provider_by(ParentBased(ALWAYS_OFF))
    monkeypatch.setattr(current.Switch, "spans", Spans(provider))
    around = attach(baggage.set_baggage("tenant", "acme"))
    with current.putting("noop", "default") as origin:
        assert isinstance(origin, JobOrigin) and origin.parent is not None and origin.parent["baggage"] == "tenant=acme"
    detach(around)


@pytest.mark.parametrize("sampler", [ParentBased(HALF), ParentBased(HALF, remote_parent_sampled=ALWAYS_OFF)])
@pytest.mark.parametrize("flags", ["01", "00"])
def test_an_attempt_is_sampled_if_its_enqueue_was_unless_the_sampler_says_otherwise(
    sampler: ParentBased, flags: str
) -> None:
    provider, exporter = provider_by(sampler)
    origin = JobOrigin(parent={"traceparent": f"00-{'1' * 32}-{'2' * 16}-{flags}", "tracestate": "a=b"})
    with Spans(provider).attempt(origin, number=1, type_name="noop", queue="default", job_id="a") as span:
        assert span.get_span_context().trace_id == int("1" * 32, 16)
    follows = flags == "01" and sampler._remote_parent_sampled is ALWAYS_ON
    assert len(exporter.get_finished_spans()) == follows


def test_a_resource_that_is_hashed_once_is_the_same() -> None:
    resource = Resource({"service.name": "errand-worker"})
    assert HashedOnce(resource) == resource and hash(HashedOnce(resource)) == hash(resource)


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
