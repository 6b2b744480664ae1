"""Reads an HTTP/1 answer as it comes (RFC 9112), and knows its status before anything else of it.

The status line must be right; all that follows may be as wrong as it likes: it is read as far as it goes, and the
connection is then used no more. Memory is bounded whatever comes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from errand.webhooks.header_name import HEADER_NAME

STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: [^\r\n]*)?\r?\n")
FIELD_LINES = rf"(?:{HEADER_NAME.pattern}:[^\r\n]*\r\n)*".encode()
WHOLE_HEAD = re.compile(rb"HTTP/1\.1 ([2-9]\d\d)(?: [^\r\n]*)?\r\n(" + FIELD_LINES + rb")\r\n")
"""A head with nothing odd in it, as nearly all are; it comes in one piece. To take it by steps costs twice as much."""


STATUS_LINE_LIMIT_BYTES = 8 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
MAX_FIELDS = 1_000
"""Real heads have a few kilobytes and a few dozen fields. Nothing is decided by what is over it; to take 256 kB of the
shortest fields apart held up all other deliveries for 60 ms."""
BODY_LIMIT_BYTES = 16 * 1024
"""How much of a body is kept: enough to see what the receiver complains about."""
INTERIM_LIMIT = 100
"""How many 1xx answers may come before the one that counts; more are a flood."""
CHUNK_LINE_LIMIT_BYTES = 1024
MAX_CHUNKS = 1_000
"""Servers send a chunk for each of their writes; a body in chunks of one byte takes as long as the longest head."""


Headers = Sequence[tuple[str, str]]


State = Literal["status", "fields", "sized", "until_close", "chunk_line", "chunk", "chunk_end", "trailers", "ended"]


class NotHttp(Exception):
    """What came cannot be the beginning of an HTTP/1 answer."""


@dataclass(slots=True)
class HttpAnswer:
    """What a receiver answered, as far as it came."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    """Its first 16 KiB, as sent: nothing is decompressed."""
    is_cut: bool = False
    """The body is longer than what is kept of it."""
    complete: bool = False
    """The whole answer came, by its own framing."""
    remote: str = ""
    """Address and port of the receiver."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """How long each phase took: dns, connect (with TLS), wait (until the status line), read."""

    def header(self, name: str) -> str:
        """The first value of that header; empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class AnswerReader:
    """Fed with bytes until it has ended; raises NotHttp if there is no status line among them."""

    def __init__(self) -> None:
        self.status = 0
        """0 until the status line of the final answer has come."""
        self.headers: Headers = ()
        self.body = bytearray()
        self.is_cut = False
        self.complete = False
        self.reusable = True
        """The connection may carry another request: nothing of this answer was odd, and it ended by itself."""
        self.started = False
        """At least a byte has come."""
        self._buffer = bytearray()
        self._state: State = "status"
        self._left = 0
        self._interims = self._chunks = 0
        self._searched = 0
        """How many bytes of the buffer do not hold the end of a head: one that drips is not searched from its start."""

    @property
    def ended(self) -> bool:
        """Nothing more is to be read."""
        return self._state == "ended"

    def feed(self, data: bytes) -> None:
        """Takes what came. Raises NotHttp."""
        self.started = True
        if self.ended:
            self.reusable = False  # bytes behind the end, such as the body of a 204
        elif self._state == "until_close":
            self._keep(data)
        elif self._state == "status" and not self._buffer and (head := WHOLE_HEAD.match(data)):
            self._take_whole_head(head)
        else:
            self._buffer += data
            self._step_on()

    def _take_whole_head(self, head: re.Match[bytes]) -> None:
        self.status = int(head[1])
        *lines, more = head[2].decode("latin-1").split("\r\n", MAX_FIELDS)
        if more:
            self.reusable = False
        self.headers = [(line[: (at := line.index(":"))], line[at + 1 :].strip()) for line in lines]
        if len(head.string) > head.end():
            self._buffer += head.string[head.end() :]
        self._frame()
        if self._buffer or not self.ended:
            self._step_on()

    def _step_on(self) -> None:
        # none if it has ended, or if all that comes until the end is its body
        while (step := _STEPS.get(self._state)) and step(self):
            pass
        if self.ended and self._buffer:
            self.reusable = False

    def close(self) -> None:
        """No more will come: the connection was closed, or waiting for the rest is over."""
        self.reusable = False
        if self._state == "until_close":
            self.complete = True
        elif self._state == "fields":
            self.headers = _fields(bytes(self._buffer))[0]
        self._state = "ended"

    # --- the steps: each takes what it can from the buffer, and returns True if it went on to another

    def _take_status(self) -> bool:
        line_end = self._buffer.find(b"\n")
        if line_end < 0:
            if len(self._buffer) > STATUS_LINE_LIMIT_BYTES:
                raise NotHttp("its first line has no end")
            return False
        found = STATUS_LINE.fullmatch(self._buffer, 0, line_end + 1)
        status = int(found[1]) if found else 0
        if status < 100 or status == 101:
            raise NotHttp(f"it begins with {bytes(self._buffer[:40])!r}")
        self.reusable = self._buffer.startswith(b"HTTP/1.1")
        del self._buffer[: line_end + 1]
        self._state = "fields"
        if status >= 200:
            self.status = status
        return True

    def _take_fields(self) -> bool:
        end = _end_of_fields(self._buffer, since=self._searched)
        if end < 0:
            self._searched = max(len(self._buffer) - LONGEST_MARK_BYTES, 0)
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                self._give_up_head()
            return False
        self._searched = 0
        head = bytes(self._buffer[:end])
        del self._buffer[:end]
        if not self.status:
            self._pass_interim()
            return True
        self.headers, well_formed = _fields(head)
        self.reusable = self.reusable and well_formed
        self._frame()
        return True

    def _give_up_head(self) -> None:
        if not self.status:
            raise NotHttp("an interim answer has no end")
        self.close()

    def _pass_interim(self) -> None:
        self._interims += 1
        if self._interims > INTERIM_LIMIT:
            raise NotHttp(f"over {INTERIM_LIMIT} interim answers came before a final one")
        self._state = "status"

    def _frame(self) -> None:
        """RFC 9112 §6.3: how the end of the body is known."""
        said = _framing_in(self.headers)
        lengths, codings = said.get("content-length", []), said.get("transfer-encoding", [])
        if any("close" in value.lower() for value in said.get("connection", [])):
            self.reusable = False
        if self.status in (204, 304):
            # one that announces a body may send it, too
            self.reusable = self.reusable and not codings and (not lengths or set(lengths) == {"0"})
            self._end()
        elif codings:
            self.reusable = self.reusable and not lengths
            self._state = "chunk_line" if codings[-1].strip().lower() == "chunked" else "until_close"
        elif len(set(lengths)) == 1 and lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 16:
            self._left, self._state = int(lengths[0]), "sized"
        else:
            self.reusable, self._state = False, "until_close"
        if self._state == "until_close":
            self._keep(bytes(self._buffer))
            self._buffer.clear()

    def _take_sized(self) -> bool:
        self._take_body()
        if self._left:
            return False
        self._end()
        return True

    def _take_chunk_line(self) -> bool:
        line_end = self._buffer.find(b"\n", 0, CHUNK_LINE_LIMIT_BYTES)
        if line_end < 0:
            if len(self._buffer) >= CHUNK_LINE_LIMIT_BYTES:
                self.close()
            return False
        size = bytes(self._buffer[:line_end]).partition(b";")[0].strip()
        del self._buffer[: line_end + 1]
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,15}", size):
            self.close()
            return False
        self._left = int(size, 16)
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            self.close()
            return False
        self._state = "chunk" if self._left else "trailers"
        return True

    def _take_chunk(self) -> bool:
        self._take_body()
        if self._left or self._state == "ended":
            return False
        self._state = "chunk_end"
        return True

    def _take_chunk_end(self) -> bool:
        if len(self._buffer) < 2 and self._buffer != b"\n":
            return False
        ending = 2 if self._buffer.startswith(b"\r\n") else 1
        if self._buffer[ending - 1 : ending] != b"\n":
            self.close()
            return False
        del self._buffer[:ending]
        self._state = "chunk_line"
        return True

    def _take_trailers(self) -> bool:
        end = _end_of_fields(self._buffer)
        if not 0 <= end <= CHUNK_LINE_LIMIT_BYTES:
            if len(self._buffer) > CHUNK_LINE_LIMIT_BYTES:
                self.close()
            return False
        del self._buffer[:end]
        self._end()
        return True

    def _take_body(self) -> None:
        part = bytes(self._buffer[: self._left])
        del self._buffer[: len(part)]
        self._left -= len(part)
        self._keep(part)

    def _keep(self, part: bytes) -> None:
        """Keeps the start of a body. One that is longer is not read on."""
        room = BODY_LIMIT_BYTES - len(self.body)
        self.body += part[:room]
        if len(part) > room:
            self.is_cut = True
            self.reusable, self._state, self._left = False, "ended", 0
            self._buffer.clear()

    def _end(self) -> None:
        if self._state != "ended":
            self.complete, self._state = True, "ended"


_STEPS = {
    "status": AnswerReader._take_status,
    "fields": AnswerReader._take_fields,
    "sized": AnswerReader._take_sized,
    "chunk_line": AnswerReader._take_chunk_line,
    "chunk": AnswerReader._take_chunk,
    "chunk_end": AnswerReader._take_chunk_end,
    "trailers": AnswerReader._take_trailers,
}


FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
FRAMING_CHARS = frozenset(map(len, FRAMING))


def _framing_in(headers: Headers) -> dict[str, list[str]]:
    """The values of the fields that say how the answer ends, by name in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if len(name) in FRAMING_CHARS and (known := name.lower()) in FRAMING:
            found.setdefault(known, []).append(value)
    return found


EMPTY_LINES = (b"\n\r\n", b"\n\n")
LONGEST_MARK_BYTES = max(map(len, EMPTY_LINES))


def _end_of_fields(buffer: bytearray, *, since: int = 0) -> int:
    """Where the empty line ends that ends a head or trailers; -1 if it has not come. It is not among the first `since`
    bytes."""
    if buffer.startswith(b"\r\n"):
        return 2
    if buffer.startswith(b"\n"):
        return 1
    ends = [at + len(mark) for mark in EMPTY_LINES if (at := buffer.find(mark, since)) >= 0]
    return min(ends, default=-1)


def _fields(head: bytes) -> tuple[list[tuple[str, str]], bool]:
    """The fields of a head, and whether all of them are as RFC 9112 has them, and not too many."""
    fields: list[tuple[str, str]] = []
    lines = head.decode("latin-1").split("\n", MAX_FIELDS)
    well_formed = len(lines) <= MAX_FIELDS
    for line in lines[:MAX_FIELDS]:
        text = line.removesuffix("\r")
        if not text:
            continue
        name, colon, value = text.partition(":")
        well_formed = well_formed and bool(colon) and HEADER_NAME.fullmatch(name) is not None
        fields.append((name.strip(), value.strip()))
    return fields, well_formed
