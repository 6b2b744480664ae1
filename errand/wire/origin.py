"""Where a job comes from: the trace and the request in which it was put.

It travels in the job's body and result beside Arq's fields, which stock Arq passes over. A job that was put outside of
both, while traces are off, carries nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Self

from errand.wire import codec

ORIGIN, PARENT, FOLLOWS, REQUEST_ID = "origin", "trace", "follows", "request_id"
"""The field of a body, and the fields in it."""

MAX_CHARS = 512
"""Of each text in it: a traceparent has 55, a tracestate up to 512 (W3C Trace Context, section 3.3.1.5)."""

TRACEPARENT = "traceparent"
JUST_TRACEPARENT = {TRACEPARENT}
"""The usual field; it is kept as a text of its own."""
PARSED = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
"""W3C Trace Context, section 3.2: version, trace id, span id, flags."""
UNSAMPLED = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]")
"""One without the lowest bit of the flags."""

TAIL = re.compile(rb',"origin":"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]"}')
"""How the record of a job that was put in an unsampled trace ends."""
TAIL_BYTES = 68

OWN = 0
"""What the field has if the job was put outside of any trace, and nothing is recorded of the one that it begins."""
DRAWN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""The id of a job, unless its producer has chosen another."""

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
    def of(cls, record: Mapping[str, Any], *, job_id: str) -> JobOrigin:
        """That in this record; what makes no sense there counts as nothing, a body may be anybody's."""
        kept = record.get(ORIGIN)
        if isinstance(kept, str) and PARSED.fullmatch(kept):
            return cls(parent={TRACEPARENT: kept})
        if kept == OWN and type(kept) is int:
            return cls(parent=with_names(OWN_TRACE, job_id=job_id).parent)
        if not isinstance(kept, dict):
            return NO_ORIGIN
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
        if self.follows is None and self.request_id is None and self.trace_id and len(self.parent or ()) == 1:
            return {ORIGIN: (self.parent or {})[TRACEPARENT]}
        named = {PARENT: self.parent, FOLLOWS: self.follows, REQUEST_ID: self.request_id}
        return {ORIGIN: kept} if (kept := {name: value for name, value in named.items() if value}) else {}


NO_ORIGIN = JobOrigin()


def origin_at(carrier: Carrier | None, *, follows: bool = False, request_id: str | None) -> JobOrigin:
    """That of a job which is put at this span; `follows`: by the end of the attempt that it stands for."""
    if carrier is None and request_id is None:
        return NO_ORIGIN
    return JobOrigin(None, carrier, request_id) if follows else JobOrigin(carrier, None, request_id)


class OriginAtEnd(bytes):
    """That of a job which is put in a trace of which nothing is recorded, and by no request: the usual one.

    It is the end of the job's record: put there and taken from there without going through JSON. It stands in for the
    span of the enqueue, too.
    """

    __slots__ = ()
    follows = request_id = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """No span ends."""


OWN_TRACE = OriginAtEnd(f',"{ORIGIN}":{OWN}}}'.encode())
"""That of a job which was put outside of any trace. Its id says which one it begins, so nothing is drawn or carried."""


class UnsampledOrigin(OriginAtEnd):
    """That of one which was put within a trace, as `TAIL` has it."""

    __slots__ = ()

    @classmethod
    def of(cls, traceparent: str) -> UnsampledOrigin:
        return cls(f',"{ORIGIN}":"{traceparent}"}}'.encode())

    @property
    def traceparent(self) -> str:
        return self[11:66].decode()

    @property
    def trace_id(self) -> str:
        return self[14:46].decode()

    @property
    def parent(self) -> Carrier:
        return {TRACEPARENT: self.traceparent}


Origin = JobOrigin | OriginAtEnd


def own_trace_id(job_id: str) -> str:
    """The trace that a job begins of which nothing is recorded: its own id, or a hash of one that somebody has chosen.

    Its lower 64 bits are 2⁶³ or more, as those of a UUID: a service that samples half of all traces or fewer by
    their ids does not sample it either.
    """
    if DRAWN_ID.fullmatch(job_id):
        return job_id.replace("-", "")
    digits = blake2b(job_id.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{digits[:16]}8{digits[17:]}"


def with_names(origin: Origin, *, job_id: str) -> JobOrigin | UnsampledOrigin:
    """The same; of a trace that the job itself began, with the name of the enqueue that did."""
    if isinstance(origin, JobOrigin | UnsampledOrigin):
        return origin
    trace_id = own_trace_id(job_id)
    # not sampled, and by its flags not of a random id
    return UnsampledOrigin.of(f"00-{trace_id}-{trace_id[16:]}-00")


def dumps_with(origin: Origin, record: dict[str, Any]) -> bytes:
    """The record with where its job comes from, as `codec.dumps` makes it."""
    if isinstance(origin, OriginAtEnd):
        return codec.dumps(record)[:-1] + origin
    return codec.dumps({**record, **origin.fields()})


def cut_origin(body: bytes) -> tuple[bytes, UnsampledOrigin] | None:
    """The body, a JSON object, without its origin; None if that is none, or is not at its end.

    What looks like this at the end of an object is a field of it: within a text its quotation marks would be escaped.
    """
    tail = body[-TAIL_BYTES:]
    return (body[:-TAIL_BYTES] + b"}", UnsampledOrigin(tail)) if TAIL.fullmatch(tail) else None


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
