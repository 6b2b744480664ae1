"""Spans in OTLP's protobuf, written by hand: the SDK makes twenty messages of a span, and takes four times as long.

The fields are those of opentelemetry/proto/trace/v1/trace.proto (opentelemetry-proto 1.x), which keep their numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common import trace_encoder
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status

IDS = struct.Struct(">2s16s2s8s")
"""`trace_id` and `span_id`, each behind its tag and its length."""
KIND_AND_TIMES = struct.Struct("<cBcQcQ")
"""`kind`, `start_time_unix_nano`, `end_time_unix_nano`, each behind its tag."""
PARENT, NAME, ATTRIBUTE, STATUS, FLAGS = b"\x22", b"\x2a", b"\x4a", b"\x7a", b"\x85\x01"
KEY, VALUE, STRING, BOOL, INT, DOUBLE = b"\x0a", b"\x12", b"\x0a", b"\x10", b"\x18", b"\x21"
MESSAGE, CODE = b"\x12", b"\x18"
RESOURCE_SPANS, RESOURCE, SCOPE_SPANS, SCOPE, SPAN, SCHEMA_URL = b"\x0a", b"\x0a", b"\x12", b"\x0a", b"\x12", b"\x1a"

SAYS_IF_REMOTE, REMOTE = 0x100, 0x200
"""Flags: if the parent is in another program is known; it is."""

KEPT_CHARS = 200
"""A longer text is not kept: what jobs note of themselves, a statement or a prompt, may have a megabyte."""

INT64 = range(-(2**63), 2**63)


class Encoded:
    """A request, as its message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializePartialToString(self) -> bytes:  # noqa: N802  # protobuf's name
        return self._data


def use_here() -> None:
    """Has the SDK's exporter by HTTP write spans so, unless it has come to do that otherwise."""
    exporting: Any = trace_exporter
    if getattr(exporting, "encode_spans", None) is trace_encoder.encode_spans:
        exporting.encode_spans = encode_spans


def encode_spans(spans: Sequence[ReadableSpan]) -> Encoded:
    """An `ExportTraceServiceRequest`; what is not usual in it is the SDK's."""
    by_scope: dict[tuple[int, int], tuple[ReadableSpan, list[bytes]]] = {}
    others = []
    for span in spans:
        if (written := _span(span)) is None:
            others.append(span)
        else:
            of_scope = by_scope.setdefault((id(span.resource), id(span.instrumentation_scope)), (span, []))
            of_scope[1].append(written)
    written_others = trace_encoder.encode_spans(others).SerializePartialToString() if others else b""
    return Encoded(b"".join(_resource_spans(*of_scope) for of_scope in by_scope.values()) + written_others)


def _resource_spans(one: ReadableSpan, spans: list[bytes]) -> bytes:
    """Those that have resource and scope in common with that one."""
    (outer,) = trace_encoder.encode_spans([one]).resource_spans
    (inner,) = outer.scope_spans
    scope = _field(SCOPE, inner.scope.SerializeToString())
    of_scope = scope + b"".join(spans) + _field(SCHEMA_URL, inner.schema_url.encode())
    resource = _field(RESOURCE, outer.resource.SerializeToString())
    of_resource = resource + _field(SCOPE_SPANS, of_scope) + _field(SCHEMA_URL, outer.schema_url.encode())
    return _field(RESOURCE_SPANS, of_resource)


def _span(span: ReadableSpan) -> bytes | None:
    """The span with its tag; None if it has more than a name, times, a status, and attributes of one value each."""
    if span.events or span.links or span.dropped_attributes or span.dropped_events or span.dropped_links:
        return None
    context, parent, start_ns, end_ns = span.context, span.parent, span.start_time, span.end_time
    if context is None or context.trace_state or start_ns is None or end_ns is None:
        return None
    try:
        attributes = [_attribute(name, value) for name, value in (span.attributes or {}).items()]
    except (TypeError, ValueError):
        # a list, a number of more than 64 bits, half of a surrogate pair: the SDK knows what becomes of these
        return None
    fields = [
        IDS.pack(b"\x0a\x10", context.trace_id.to_bytes(16), b"\x12\x08", context.span_id.to_bytes(8)),
        b"" if parent is None else _field(PARENT, parent.span_id.to_bytes(8)),
        _field(NAME, span.name.encode()),
        KIND_AND_TIMES.pack(b"\x30", span.kind.value + 1, b"\x39", start_ns, b"\x41", end_ns),
        *attributes,
        _field(STATUS, _status(span.status)),
        FLAGS,
        _flags(parent),
    ]
    return _field(SPAN, b"".join(fields))


def _attribute(name: str, value: object) -> bytes:
    """Raises TypeError and ValueError."""
    if isinstance(value, str) and len(value) > KEPT_CHARS:
        return _written(name, value)
    return _kept(name, value)


def _written(name: str, value: object) -> bytes:
    return _field(ATTRIBUTE, _field(KEY, name.encode()) + _field(VALUE, _value(value)))


_kept = lru_cache(maxsize=1024, typed=True)(_written)
"""All but the job's id are the same for many spans."""


def _value(value: object) -> bytes:
    if isinstance(value, str):
        return _field(STRING, value.encode())
    if isinstance(value, bool):
        return BOOL + _varint(value)
    if isinstance(value, int) and value in INT64:
        return INT + _varint(value % 2**64)
    if isinstance(value, float):
        return DOUBLE + struct.pack("<d", value)
    raise TypeError(value)


def _status(status: Status) -> bytes:
    message, code = status.description or "", status.status_code.value
    return (_field(MESSAGE, message.encode()) if message else b"") + (CODE + _varint(code) if code else b"")


def _flags(parent: SpanContext | None) -> bytes:
    return (SAYS_IF_REMOTE | (REMOTE if parent is not None and parent.is_remote else 0)).to_bytes(4, "little")


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    if number < 0x80:
        return SHORT[number]
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


SHORT = [bytes([number]) for number in range(0x80)]
