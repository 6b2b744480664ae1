"""Sampled spans of Errand's own of which OpenTelemetry's are made only if something else looks at them.

Most jobs do nothing that would, and the SDK needs several times as long for a span as it takes to note what is known
of it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
)

from errand.tracing import w3c
from errand.tracing.unsampled import RANDOM, SAMPLED, RootSampling

NO_TRACEBACKS: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
"""The SDK would write down errors as they are, and there may be secrets in them."""

EXPORTERS = (BatchSpanProcessor, SimpleSpanProcessor)
"""They look at a span when it has ended; any other may do so when it begins."""

MAX_ATTRIBUTES = 16
"""More than a span of Errand's own has."""

COUNTS_NONE = "NoOpTracerMetrics"
"""What the SDK has in place of its metrics of spans, unless a program wants them; private, so it is known by name."""

UNSET = Status(StatusCode.UNSET)


@dataclass(slots=True, eq=False)
class Unmade:
    """A span that is under way."""

    recorder: Recorder
    name: str
    kind: SpanKind
    attributes: dict[str, Any]
    """Texts and numbers, which the SDK would not change either."""
    context: SpanContext
    parent: SpanContext | None
    started_ns: int = field(default_factory=time_ns)
    status: Status = UNSET
    has_ended: bool = False
    made: Span | None = None
    """The SDK's, if something has asked for it in time. All that is said of the span from then on is said of that."""
    entered: Context | None = None
    """OpenTelemetry's context, if something has asked for that."""

    def get_span_context(self) -> SpanContext:
        return self.context

    def set_attribute(self, name: str, value: str | float) -> None:
        if self.made is None:
            self.attributes[name] = value
        else:
            self.made.set_attribute(name, value)

    def set_status(self, code: StatusCode, description: str) -> None:
        if self.made is None:
            self.status = Status(code, description)
        else:
            self.made.set_status(code, description)

    def in_context(self) -> Context:
        """OpenTelemetry's context of what is within it; makes the span, unless it is over."""
        if self.entered is None:
            if not self.has_ended:
                self.made = self.recorder.make(self)
            self.entered = Context({w3c.SPAN_KEY: self.made or NonRecordingSpan(self.context)})
        return self.entered

    def end(self) -> None:
        self.has_ended = True
        if self.made is None:
            self.recorder.record(self)
        else:
            self.made.end()


@dataclass(slots=True, eq=False)
class Recorder:
    """Begins such spans, and hands those that were not made to the exporters."""

    provider: Any
    roots: RootSampling
    processor: SynchronousMultiSpanProcessor
    """The provider's, which hands on to all that were added."""
    info: Any
    scope: Any
    """Of Errand, as the instrumenting library."""
    _seen: object = None
    _suffices: bool = False

    @classmethod
    def of(cls, provider: TracerProvider, roots: RootSampling) -> Recorder | None:
        """That of the provider; None if its spans may be cut, or are counted."""
        processor, limits = getattr(provider, "_active_span_processor", None), getattr(provider, "_span_limits", None)
        scope = getattr(roots.tracer, "_instrumentation_scope", None)
        if type(processor) is not SynchronousMultiSpanProcessor or limits is None or scope is None:
            return None
        if _may_cut(limits) or type(getattr(roots.tracer, "_tracer_metrics", None)).__name__ != COUNTS_NONE:
            return None
        return cls(provider, roots, processor, getattr(roots.tracer, "instrumentation_info", None), scope)

    def suffices(self) -> bool:
        """True if spans only go to exporters: a program may have added something else by now."""
        processors = self.processor._span_processors
        if processors is not self._seen:
            self._seen, self._suffices = processors, all(type(one) in EXPORTERS for one in processors)
        return self._suffices

    def root(self, name: str, kind: SpanKind, attributes: dict[str, Any]) -> Unmade:
        """The first one of the trace whose id was drawn."""
        context = SpanContext(self.roots.ids.trace_id, _span_id(), False, TraceFlags(SAMPLED | RANDOM))
        return Unmade(self, name, kind, attributes, context, None)

    def child(self, parent: SpanContext, name: str, kind: SpanKind, attributes: dict[str, Any]) -> Unmade:
        flags = TraceFlags(SAMPLED | parent.trace_flags & RANDOM)
        return Unmade(self, name, kind, attributes, SpanContext(parent.trace_id, _span_id(), False, flags), parent)

    def make(self, span: Unmade) -> Span:
        """The SDK's, with what is known by now."""
        ids, context = self.roots.ids, span.context
        ids.trace_id, ids.span_id = context.trace_id, context.span_id
        made = self.roots.tracer.start_span(
            span.name,
            context=Context() if span.parent is None else Context({w3c.SPAN_KEY: NonRecordingSpan(span.parent)}),
            kind=span.kind,
            attributes=span.attributes,
            start_time=span.started_ns,
            **NO_TRACEBACKS,
        )
        if span.status is not UNSET:
            made.set_status(span.status)
        return made

    def record(self, span: Unmade) -> None:
        self.processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                self.provider.resource,
                span.attributes,
                kind=span.kind,
                instrumentation_info=self.info,
                status=span.status,
                start_time=span.started_ns,
                end_time=time_ns(),
                instrumentation_scope=self.scope,
            )
        )


def _may_cut(limits: SpanLimits) -> bool:
    """True if a program wants shorter spans than those of Errand may be."""
    number = limits.max_span_attributes
    return limits.max_span_attribute_length is not None or (number is not None and number < MAX_ATTRIBUTES)


def _span_id() -> int:
    return random.getrandbits(64) or 1
