"""What is put and run in traces that are not sampled, as most are: nothing is recorded, so no span is made.

An enqueue decides by the sampler's own rule and hands on that it did so. What a job calls still sees whose child it is,
and records nothing either.
"""

from __future__ import annotations

import math
import random
import sys
import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Tracer,
    TracerProvider,
)

from errand.tracing import w3c
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


def are_left_out(provider: TracerProvider) -> bool:
    """True if no child of what was not sampled is sampled, and headers are W3C's: the defaults of OpenTelemetry."""
    sampler = getattr(provider, "sampler", None)
    of_parents = (getattr(sampler, f"_{where}_parent_not_sampled", None) for where in ("remote", "local"))
    return isinstance(sampler, ParentBased) and all(one is ALWAYS_OFF for one in of_parents) and w3c.is_usual()


class GivenIds(threading.local, RandomIdGenerator):
    """Random ids, unless they were drawn before, in the same thread; that of a trace always was."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        given, self.span_id = self.span_id, 0
        return given or super().generate_span_id()


@dataclass(slots=True)
class RootSampling:
    """Which new traces are sampled, if that depends on their ids alone."""

    bound: int
    """Those whose lower 64 bits are smaller."""
    ids: GivenIds
    tracer: Tracer
    """Makes spans of traces that are sampled; if it is the first, with the id that was drawn."""
    follows_parents: bool
    """True if a span that is sampled has sampled children: then nobody has to be asked."""
    left: int = field(init=False)
    """So many are not sampled before the next one that is. To draw that once costs less than to draw each one's id."""

    def __post_init__(self) -> None:
        self.left = self._gap()

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
        of_parents = (getattr(sampler, f"_{where}_parent_sampled", None) for where in ("remote", "local"))
        return cls(bound, ids, tracer, all(one is ALWAYS_ON for one in of_parents))

    @property
    def are_named_by_jobs(self) -> bool:
        """True if no trace whose id is that of a job is sampled: its lower 64 bits are 2⁶³ or more."""
        return self.bound <= IDS // 2

    def draw(self, has_own: bool) -> OriginAtEnd | None:
        """The start of a new trace that is not sampled; None if it is, then its id is drawn for its first span.

        `has_own`: it is that of one job, whose id says which it is.
        """
        if self.left > 0:
            self.left -= 1
            if has_own and self.are_named_by_jobs:
                return OWN_TRACE
            return UnsampledOrigin.of(w3c.traceparent(_trace_id(self.bound, IDS), random.getrandbits(64), RANDOM))
        self.left, self.ids.trace_id = self._gap(), _trace_id(0, self.bound)
        return None

    def _gap(self) -> int:
        """How many traces in a row are not sampled, as if each one's id were drawn: distributed geometrically."""
        if self.bound in (0, IDS):
            return 0 if self.bound else sys.maxsize
        above_0 = 1 - random.random()  # noqa: S311  # no secret
        return int(math.log(above_0) / math.log1p(-self.bound / IDS))


def _trace_id(low: int, high: int) -> int:
    """A random one with lower 64 bits in this range."""
    return random.getrandbits(64) << 64 | low + (random.getrandbits(64) * (high - low) >> 64)


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


def child_of(parent: SpanContext) -> UnsampledOrigin | None:
    """Something new in that span's trace; None if it is sampled."""
    if parent.trace_flags & SAMPLED:
        return None
    return UnsampledOrigin.of(w3c.traceparent(parent.trace_id, random.getrandbits(64), parent.trace_flags))


def context_in(parent: UnsampledOrigin, around: Context) -> Context:
    """That of what is a child of the span, and else within that other context."""
    return Context({**around, w3c.SPAN_KEY: LeftOut(parent)})
