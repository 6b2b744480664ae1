"""Where a job comes from: the trace and the request in which it was put.

It travels in the job's body and result beside Arq's fields, which stock Arq passes over. A job that was put outside of
both carries nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

ORIGIN, PARENT, FOLLOWS, REQUEST_ID = "origin", "trace", "follows", "request_id"
"""The field of a body, and the fields in it."""

JUST_PARENT = {PARENT}
"""The usual fields."""

MAX_CHARS = 512
"""Of each text in it: a traceparent has 55, a tracestate up to 512 (W3C Trace Context, section 3.3.1.5)."""

TRACEPARENT = "traceparent"
JUST_TRACEPARENT = {TRACEPARENT}
PARSED = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
"""W3C Trace Context, section 3.2: version, trace id, span id, flags."""
UNSAMPLED = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]")
"""One without the lowest bit of the flags."""

REQUEST_ID_CHARS = re.compile(r"[!-~]{1,128}")
"""What is taken over of an `X-Request-ID`: it is written into logs."""

Carrier = Mapping[str, str]
"""A trace's context as headers name it: `traceparent`, or what `OTEL_PROPAGATORS` asks for."""


class JobOrigin(NamedTuple):
    """As the body and the result of a job have it. A dataclass would take three times as long to make, for each job."""

    parent: Carrier | None = None
    """The span that put the job: that of its first attempt is a child of it."""
    follows: Carrier | None = None
    """The attempt that the job follows: another trace, to which its own has a link."""
    request_id: str | None = None
    """The `X-Request-ID` of the request that put it, or the job that it follows."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> JobOrigin:
        """That in this record; what makes no sense there counts as nothing, a body may be anybody's."""
        kept = record.get(ORIGIN)
        if not isinstance(kept, dict):
            return NO_ORIGIN
        if kept.keys() == JUST_PARENT:
            return cls(parent=_carrier(kept[PARENT]))
        return cls(
            parent=_carrier(kept.get(PARENT)),
            follows=_carrier(kept.get(FOLLOWS)),
            request_id=request_id(kept.get(REQUEST_ID)),
        )

    @property
    def trace_id(self) -> str | None:
        """The trace of the job and its first attempt; None if it is kept in another form than W3C's."""
        parsed = PARSED.fullmatch(self.parent.get(TRACEPARENT, "")) if self.parent else None
        return parsed[1] if parsed else None

    def fields(self) -> dict[str, Any]:
        """What it adds to a record."""
        if self.follows is None and self.request_id is None:
            return {ORIGIN: {PARENT: self.parent}} if self.parent else {}
        named = {PARENT: self.parent, FOLLOWS: self.follows, REQUEST_ID: self.request_id}
        return {ORIGIN: kept} if (kept := {name: value for name, value in named.items() if value}) else {}


NO_ORIGIN = JobOrigin()


def may_have_origin(body: bytes) -> bool:
    """False if the body surely has none: a look at its bytes, which costs a job without one next to nothing."""
    return b'"origin":' in body


def request_id(value: object) -> str | None:
    """The value, if it can be one."""
    return value if isinstance(value, str) and REQUEST_ID_CHARS.fullmatch(value) else None


def _carrier(value: object) -> Carrier | None:
    if not isinstance(value, dict):
        return None
    if value.keys() == JUST_TRACEPARENT and _may_be_kept(value[TRACEPARENT]):
        return value
    return {name: text for name, text in value.items() if _may_be_kept(text)} or None


def _may_be_kept(text: object) -> bool:
    return isinstance(text, str) and len(text) <= MAX_CHARS
