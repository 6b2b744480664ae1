"""Reads `multipart/form-data` (RFC 7578) part by part from a request's stream, a chunk at a time in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from errand.http.answers.problems import TOO_LARGE, Problem

PREAMBLE_LIMIT_BYTES = 16 * 1024

MAX_PARTS = 16
"""No form has so many. All parts in a piece that has come are taken apart before the first is looked at: six thousand
held up the loop for 0.14 s."""


@dataclass(slots=True)
class Part:
    """One part of a form; its content must be read before the next part is asked for."""

    name: str
    filename: str | None
    _reader: _Reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content as it comes in."""
        while (chunk := await self._reader.next_chunk()) is not None:
            yield chunk

    async def read(self, *, limit_bytes: int) -> bytes:
        """The whole content. Raises Problem 413 over the limit."""
        content = b""
        async for chunk in self.chunks():
            content += chunk
            if len(content) > limit_bytes:
                raise Problem(413, TOO_LARGE, f"Part '{self.name}' is over {limit_bytes} bytes.")
        return content


async def parts_of(request: Request) -> AsyncIterator[Part]:
    """The parts of the request's form, in their order. Raises Problem 422 for a body that is no such form."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise _malformed("the Content-Type names no boundary")
    reader = _Reader(_from_first_boundary(request.stream(), b"--" + boundary), boundary)
    while (part := await reader.next_part()) is not None:
        yield part


async def _from_first_boundary(stream: AsyncIterator[bytes], delimiter: bytes) -> AsyncIterator[bytes]:
    """The stream without its preamble: text in front of the first boundary, which RFC 2046 has readers ignore."""
    start = b""
    async for chunk in stream:
        start += chunk
        if (found := _line_start(start, delimiter)) is not None:
            yield start[found:]
            break
        if len(start) > PREAMBLE_LIMIT_BYTES + len(delimiter):
            raise _malformed(f"no boundary in its first {PREAMBLE_LIMIT_BYTES} bytes")
    async for chunk in stream:
        yield chunk


def _line_start(text: bytes, delimiter: bytes) -> int | None:
    if text.startswith(delimiter):
        return 0
    found = text.find(b"\r\n" + delimiter)
    return found + 2 if found >= 0 else None


@dataclass(slots=True)
class _Headers:
    """The headers of the part that is being read."""

    name: bytes = b""
    value: bytes = b""
    all: dict[bytes, bytes] = field(default_factory=dict)

    def close_line(self) -> None:
        self.all[self.name.lower()] = self.value
        self.name, self.value = b"", b""


class _Reader:
    """Feeds the stream to the parser and turns its callbacks into events: a Part, a chunk, or the end of a part."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        self._stream = stream
        self._headers = _Headers()
        self._events: deque[Part | bytes | None] = deque()
        self._complete = False
        self._parts = 0
        with _telling_faults():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_name,
                    "on_header_value": self._add_to_value,
                    "on_header_end": lambda: self._headers.close_line(),
                    "on_headers_finished": self._finish_headers,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(None),
                    "on_end": self._finish,
                },
            )

    async def next_part(self) -> Part | None:
        """The next part, past the rest of this one; None after the last."""
        while (event := await self._next()) is not None or not self._complete or self._events:
            if isinstance(event, Part):
                return event
        return None

    async def next_chunk(self) -> bytes | None:
        """The next bytes of this part; None at its end."""
        event = await self._next()
        if isinstance(event, Part):
            raise AssertionError("a part began inside another")
        return event

    async def _next(self) -> Part | bytes | None:
        while not self._events and not self._complete:
            chunk = await anext(self._stream, b"")
            if not chunk and not self._complete:
                raise _malformed("it ends in the middle of a part")
            with _telling_faults():
                self._parser.write(chunk)
        return self._events.popleft() if self._events else None

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise FormParserError(f"it has more than {MAX_PARTS} parts")
        self._headers = _Headers()

    def _add_to_name(self, data: bytes, start: int, end: int) -> None:
        self._headers.name += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._headers.value += data[start:end]

    def _finish_headers(self) -> None:
        _, options = parse_options_header(self._headers.all.get(b"content-disposition", b""))
        filename = options.get(b"filename")
        self._events.append(
            Part(
                name=options.get(b"name", b"").decode(errors="replace"),
                filename=filename.decode(errors="replace") if filename is not None else None,
                _reader=self,
            )
        )

    def _finish(self) -> None:
        self._complete = True


@contextmanager
def _telling_faults() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise _malformed(str(error).rstrip(".")) from None


def _malformed(reason: str) -> Problem:
    return Problem(422, "invalid-request", f"The body is not valid multipart/form-data: {reason}.")
