"""What is put and run in traces that are not sampled, as most are: nothing is recorded, so no span is made.

An enqueue decides by the sampler's own rule and hands on that it did so. What a job calls still sees whose child it is,
and records nothing either.
"""

from __future__ import annotations

import contextvars
import random
import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from copy import copy
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Tracer,
    TracerProvider,
)

from errand.tracing import w3c
from errand.tracing.attempts import OfAttempt
from errand.version import VERSION
from errand.wire.origin import (
    OWN_TRACE,
    TRACEPARENT,
    UNSAMPLED,
    Origin,
    OriginAtEnd,
    UnsampledOrigin,
    with_names,
)

SAMPLED, RANDOM = 1, 2
"""Bits of the flags (W3C Trace Context, level 2, section 3.2.2.5)."""

IDS = TraceIdRatioBased.TRACE_ID_LIMIT + 1
"""By the lower 64 bits of its id a trace is sampled or not."""
BOUNDS: Mapping[object, int] = {ALWAYS_OFF: 0, ALWAYS_ON: IDS}


class Lazily(_RuntimeContext):
    """OpenTelemetry's current context. That of an attempt in an unsampled trace is made once somebody asks for it.

    To enter it is a tenth of what a no-op job costs, and most jobs do nothing that would look at it.
    """

    def __init__(self, kept: ContextVar[Context]) -> None:
        self._kept = kept
        self._nothing = contextvars.Context().run(kept.get)

    def get_current(self) -> Context:
        context = self._kept.get()
        if context is not self._nothing or (asked := OfAttempt.context) is None:
            return context
        of_attempt: Context | None = asked()
        return context if of_attempt is None else of_attempt

    def attach(self, context: Context) -> Token[Context]:
        return self._kept.set(context)

    def detach(self, token: Token[Context]) -> None:
        self._kept.reset(token)

    def is_untouched(self) -> bool:
        """True if nothing is current here but what an attempt is in, if there is one."""
        return self._kept.get() is self._nothing


def _lazily() -> Lazily | None:
    """Has OpenTelemetry's context kept so; None if that is another than its own, how it is kept may be anybody's."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    kept = getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None
    if not isinstance(kept, ContextVar):
        return None
    lazily = Lazily(kept)
    otel_context._RUNTIME_CONTEXT = lazily
    return lazily


LAZILY = _lazily()


def are_left_out(provider: TracerProvider) -> bool:
    """True if no child of what was not sampled is sampled, and headers are W3C's: the defaults of OpenTelemetry."""
    sampler = getattr(provider, "sampler", None)
    of_parents = (getattr(sampler, f"_{where}_parent_not_sampled", None) for where in ("remote", "local"))
    return isinstance(sampler, ParentBased) and all(one is ALWAYS_OFF for one in of_parents) and w3c.is_usual()


class GivenIds(threading.local, RandomIdGenerator):
    """Random ids; that of the trace was drawn before, in the same thread."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


@dataclass(frozen=True, slots=True)
class RootSampling:
    """Which new traces are sampled, if that depends on their ids alone."""

    bound: int
    """Those whose lower 64 bits are smaller."""
    ids: GivenIds
    tracer: Tracer
    """Makes spans of traces that are sampled; if it is the first, with the id that was drawn."""
    follows_parents: bool
    """True if a span of another program that is sampled has sampled children: then nobody has to be asked."""

    @classmethod
    def of(cls, provider: TracerProvider) -> RootSampling | None:
        """That of the provider; None if its sampler or its ids are others than OpenTelemetry's own."""
        sampler = getattr(provider, "sampler", None)
        root = getattr(sampler, "_root", None)
        bound = root.bound if type(root) is TraceIdRatioBased else BOUNDS.get(root)
        if bound is None or type(getattr(provider, "id_generator", None)) is not RandomIdGenerator:
            return None
        # a copy: the provider hands out the same tracer to all who ask under that name
        tracer: Any = copy(provider.get_tracer("errand", VERSION))
        tracer.id_generator, tracer.sampler = (ids := GivenIds()), ALWAYS_ON
        return cls(bound, ids, tracer, getattr(sampler, "_remote_parent_sampled", None) is ALWAYS_ON)

    def draw(self, has_own: bool) -> OriginAtEnd | None:
        """The start of a new trace that is not sampled; None if it is, then `tracer` makes its first span.

        `has_own`: it is that of one job, whose id says which it is.
        """
        lower = random.getrandbits(64)
        if lower >= self.bound and has_own and self.bound <= IDS // 2:
            return OWN_TRACE
        trace_id = random.getrandbits(64) << 64 | lower
        if lower < self.bound:
            self.ids.trace_id = trace_id
            return None
        return UnsampledOrigin.of(w3c.traceparent(trace_id, random.getrandbits(64), RANDOM))


class LeftOut(NonRecordingSpan):
    """The span that put a job. Its context is read if somebody asks: most jobs do nothing that would."""

    def __init__(self, origin: UnsampledOrigin) -> None:
        self._origin = origin

    def get_span_context(self) -> SpanContext:
        return w3c.span_named(self._origin.traceparent)

    def __repr__(self) -> str:
        return f"LeftOut({self._origin.traceparent!r})"


def parent_in(origin: Origin, *, job_id: str) -> UnsampledOrigin | None:
    """The span that put a job, if that is not sampled; None for any other, or one that has more than its name."""
    origin = with_names(origin, job_id=job_id)
    if isinstance(origin, UnsampledOrigin):
        return origin
    if origin.follows is not None or origin.parent is None or len(origin.parent) != 1:
        return None
    text = origin.parent.get(TRACEPARENT, "")
    return UnsampledOrigin.of(text) if UNSAMPLED.fullmatch(text) else None


def child_in(context: Context) -> UnsampledOrigin | None:
    """Something new in that context if its trace is not sampled; None if it may be, or has more."""
    parent = w3c.lone_span_in(context)
    if parent is None or parent.trace_flags & SAMPLED:
        return None
    return UnsampledOrigin.of(w3c.traceparent(parent.trace_id, random.getrandbits(64), parent.trace_flags))


def context_in(parent: UnsampledOrigin, around: Context) -> Context:
    """That of what is a child of the span, and else within that other context."""
    return Context({**around, w3c.SPAN_KEY: LeftOut(parent)})
