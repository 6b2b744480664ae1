"""What is put and run in traces that are not sampled, as most are: nothing is recorded, so no span is made.

An enqueue decides by the sampler's own rule and hands on a `traceparent` that says so. What a job calls still sees
whose child it is, and records nothing either.
"""

from __future__ import annotations

import random
import threading
from binascii import hexlify
from collections.abc import Mapping
from contextvars import ContextVar, Token
from copy import copy
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    Tracer,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from errand.version import VERSION
from errand.wire.origin import TRACEPARENT, UNSAMPLED, Carrier, JobOrigin, UnsampledOrigin

SAMPLED, RANDOM = 1, 2
"""Bits of the flags (W3C Trace Context, level 2, section 3.2.2.5)."""

USUAL = {TraceContextTextMapPropagator, W3CBaggagePropagator}
"""What writes the headers of a trace, unless `OTEL_PROPAGATORS` says otherwise."""

TRACE_ID_LIMIT = TraceIdRatioBased.TRACE_ID_LIMIT
BOUNDS: Mapping[object, int] = {ALWAYS_OFF: 0, ALWAYS_ON: TRACE_ID_LIMIT + 1}


class _AsItIs:
    """The context that is current, by OpenTelemetry's own functions: how it is kept may be anybody's."""

    get = staticmethod(get_current)
    set = staticmethod(attach)
    reset = staticmethod(detach)


def _kept() -> ContextVar[Context] | _AsItIs:
    """Where it is kept. To go there directly saves eight calls for each job, a fiftieth of its processor time."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    kept = getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None
    return kept if isinstance(kept, ContextVar) else _AsItIs()


CURRENT = _kept()
"""OpenTelemetry's current context: `get`, `set` and `reset` as of a ContextVar."""

_BEFORE_IDS, _AFTER_IDS = UnsampledOrigin.of(f"00-|-{RANDOM:02x}").split(b"|")
(_SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())


def are_left_out(provider: TracerProvider) -> bool:
    """True if no child of what was not sampled is sampled, and headers are W3C's: the defaults of OpenTelemetry."""
    sampler, writes = getattr(provider, "sampler", None), propagate.get_global_textmap()
    if not isinstance(sampler, ParentBased) or not isinstance(writes, CompositePropagator):
        return False
    of_parents = (getattr(sampler, f"_{where}_parent_not_sampled", None) for where in ("remote", "local"))
    writers = {type(writer) for writer in getattr(writes, "_propagators", ())}
    return all(one is ALWAYS_OFF for one in of_parents) and writers == USUAL


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
    """Makes the first span of a trace that is sampled, with the id that was drawn."""

    @classmethod
    def of(cls, provider: TracerProvider) -> RootSampling | None:
        """That of the provider; None if its sampler or its ids are others than OpenTelemetry's own."""
        root = getattr(getattr(provider, "sampler", None), "_root", None)
        bound = root.bound if type(root) is TraceIdRatioBased else BOUNDS.get(root)
        if bound is None or type(getattr(provider, "id_generator", None)) is not RandomIdGenerator:
            return None
        # a copy: the provider hands out the same tracer to all who ask under that name
        tracer, ids = copy(provider.get_tracer("errand", VERSION)), GivenIds()
        tracer.id_generator = ids  # type: ignore[attr-defined]  # the SDK's tracer has it
        return cls(bound, ids, tracer)

    def draw(self) -> UnsampledOrigin | None:
        """The start of a new trace that is not sampled; None if it is, then `tracer` makes its first span."""
        # the ids of a trace and its span at once: a third of the time of two numbers, each formatted by itself
        drawn = random.getrandbits(128 + 64)
        if drawn >> 64 & TRACE_ID_LIMIT < self.bound:
            self.ids.trace_id = drawn >> 64
            return None
        return UnsampledOrigin(_BEFORE_IDS + hexlify(drawn.to_bytes(16 + 8, "big"), "-", -16) + _AFTER_IDS)


class LeftOut(NonRecordingSpan):
    """The span that put a job. Its context is read if somebody asks: most jobs do nothing that would."""

    def __init__(self, origin: UnsampledOrigin) -> None:
        self._origin = origin

    def get_span_context(self) -> SpanContext:
        text = self._origin.traceparent
        return SpanContext(int(text[3:35], 16), int(text[36:52], 16), True, TraceFlags(int(text[53:], 16)))

    def __repr__(self) -> str:
        return f"LeftOut({self._origin.traceparent!r})"


def parent_in(origin: JobOrigin) -> UnsampledOrigin | None:
    """The span that put a job, if that is not sampled; None for any other, or one that has more than its name."""
    if origin.follows is not None or origin.parent is None or len(origin.parent) != 1:
        return None
    text = origin.parent.get(TRACEPARENT, "")
    return UnsampledOrigin.of(text) if UNSAMPLED.fullmatch(text) else None


def child_in(context: Context) -> UnsampledOrigin | None:
    """Something new in that context if its trace is not sampled; None if it may be, or has more."""
    parent = _unsampled_in(context)
    if parent is None:
        return None
    return UnsampledOrigin.of(_traceparent(parent.trace_id, random.getrandbits(64), parent.trace_flags))


def carrier_in(context: Context) -> Carrier | None:
    """The headers of its span if that is not sampled; None for any other, or if it has more than its name."""
    span = _unsampled_in(context)
    return None if span is None else {TRACEPARENT: _traceparent(span.trace_id, span.span_id, span.trace_flags)}


def _unsampled_in(context: Context) -> SpanContext | None:
    span = get_current_span(context).get_span_context()
    if span.trace_flags & SAMPLED or not span.is_valid or span.trace_state or len(context) != 1:
        return None
    return span


def _traceparent(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def enter(parent: UnsampledOrigin) -> Token[Context]:
    """What is done from now on is a child of that span, until `CURRENT` is reset by the token."""
    return CURRENT.set(Context({**CURRENT.get(), _SPAN_KEY: LeftOut(parent)}))
