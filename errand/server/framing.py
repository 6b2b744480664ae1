"""Where one request ends and the next begins: uvicorn's HTTP protocol, without the ways to blur that.

httptools (llhttp) leaves three things to its user. A message that asks for an upgrade ends at its head, so that its
body would be read as a next request (uvicorn #2722). Trailers come as headers. And everything that has arrived is
parsed, however many requests wait for their answers. RFC 9110 and 9112 say what is right; each check names its section.

h11, which blurs none of that, was tried in its place below the same fast path: by the server's processor time for a
request (medians of five rounds in turn) it makes 0.60 x the rate of a bare FastAPI route on httptools, this class
0.82 x. It would also leave the bounds of this class to be written anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from time import thread_time
from typing import Literal, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from errand.http.answers.problems import Problem
from errand.server.ahead import AheadQueue
from errand.server.share import Share

Part = Literal["none", "head", "body"]

SLICE_BYTES = 512
"""What has arrived is parsed in slices: between them the work that was done and the number of waiting requests are
looked at. Five clients that send chunks of one byte without end took 1.7 ms of processor time of each turn of the loop
with slices of 2 KiB, and take 0.25 ms."""
PLAIN_SLICE_BYTES = 256 * 1024
"""Within a body whose length was announced: all of a slice is content, whatever stands in it. uvloop reads as much."""
WORK_IN_A_TURN = 40
"""So much is parsed before the other connections have a turn, in pieces of a body and trailers; a head is `HEAD_WORK`
of them. A mebibyte in chunks of one byte each would hold up everybody for a second otherwise."""
HEAD_WORK = 20
AHEAD_AT_ONCE = 64
"""A client that goes on to send requests before it has the answers is served as fast as any other for so many of them.
Then each waits for its turn among those of all such clients, who would take the whole processor otherwise."""
MAX_PIPELINED = 16
"""Requests of one connection that wait for their turn, before the rest is left unparsed and nothing more is read."""
READ_ON_AT = 2
"""So few must wait for their turn before the connection is read on."""
TRAILERS_LIMIT_BYTES = 8 * 1024
BETWEEN_LIMIT_BYTES = 1024
"""Line breaks in front of a request, which RFC 9112 §2.2 asks a server to ignore."""
FRAMING_LIMIT_BYTES = 64 * 1024
FRAMING_PER_BODY_BYTE = 8
"""Chunk sizes and extensions: so many bytes beyond a body, and so many more for each of its bytes (a chunk of one
byte has five)."""
MAX_LENGTH_DIGITS = 18
ONCE = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding", b"content-type"})
"""Headers of which two would be read as the first by one program and as the last by another (RFC 9110 §5.3)."""


class HeldFlow(FlowControl):
    """Reading stays paused while there is something left to parse, whatever the application has taken."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class Framing(HttpToolsProtocol):
    """The messages of one connection. A subclass is asked to answer: `send_400_response` with a `refusal` at hand."""

    ahead_queue: AheadQueue
    """That of the process."""
    refusal: Problem | None = None
    """Why the parser was stopped."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # passed on as they came
        self.part: Part = "none"
        """What is being parsed of a message; none between two."""
        self._began = False
        """A message has, in this slice."""
        self._upgrade_body: bytes | None = None
        """The head that a message with an ignored upgrade and a body has in the next parser."""
        self._unparsed = memoryview(b"")
        """A view: the rest of a quarter of a mebibyte would be copied in each turn."""
        self._work = 0
        """What was parsed in this turn of the loop."""
        self._framing_bytes = self._trailer_bytes = self._between_bytes = 0
        self._announced_left = 0
        """Of the body, by its content-length."""
        self._share = Share()
        self.over = False
        """Nothing is read or parsed any more: a message was refused, and the connection is closed after the answer."""
        self._rests = False
        """It has used its share: nothing is read or parsed until that is over."""
        self._ahead = 0
        """Requests that were answered while more had been sent already, since nothing had."""
        self._answered: RequestResponseCycle | None = None
        """The one that is answered now, or was last; `cycle` is that of the last head that has come."""

    def refuse(self, problem: Problem) -> Problem:
        """For `raise`, in a callback of the parser: the connection is answered with that problem, and closed."""
        self.refusal = problem
        return problem

    # --- from bytes to the parser

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self.flow: HeldFlow = HeldFlow(transport)
        self._context = copy_context()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn notifies the last request alone: one that is answered while more has been sent would never hear of
        it, and a stream has no other end."""
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.flow.held:
            self._unparsed = memoryview(bytes(self._unparsed) + data)
        elif self._is_awaited():
            self._parse(memoryview(data))
        else:
            self._parse_by_share(memoryview(data))

    def _is_awaited(self) -> bool:
        """True if what comes is what the service waits for: a request of a client that has its answers, the rest of a
        head, or the body of a request, by its length, that has not been answered. All of that is bounded."""
        if self.part == "body":
            return self._announced_left > 0 and not self.cycle.response_complete
        return self.part == "head" or self.has_answered()

    def has_answered(self) -> bool:
        """True if each request before the one that is coming has its whole answer."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn declares it as never None
        return cycle is None or cycle.response_complete

    def _parse_by_share(self, data: memoryview) -> None:
        used_s = thread_time()  # what other programs take of the processor meanwhile is not the client's doing
        self._parse(data)
        rest_s = self._share.use(thread_time() - used_s, at_s=self.loop.time())
        if rest_s and not self._is_over():
            self._rests = self.flow.held = True
            self.flow.pause_reading()
            self.loop.call_later(rest_s, self._has_rested)

    def read_no_more(self) -> None:
        """Drops what has not been parsed; what else comes is left to the client's own machine."""
        self.over, self._unparsed, self.flow.held = True, memoryview(b""), True
        self.flow.pause_reading()

    def _is_over(self) -> bool:
        return self.over or self.transport.is_closing()

    def _has_rested(self) -> None:
        self._rests = False
        self._parse_on()

    def _parse(self, data: memoryview) -> None:
        self._work = start = 0
        while start < len(data) and not self._is_over():
            if len(self.pipeline) >= MAX_PIPELINED or self._work >= WORK_IN_A_TURN:
                self._hold(data[start:])
                return
            end = start + max(SLICE_BYTES, min(self._announced_left, PLAIN_SLICE_BYTES))
            self._parse_slice(data[start:end])
            start = end

    def _hold(self, rest: memoryview) -> None:
        """Until the next turn of the loop, or until an answer makes room."""
        self._unparsed, self.flow.held = rest, True
        self.flow.pause_reading()
        if len(self.pipeline) < MAX_PIPELINED:
            self.loop.call_soon(self._parse_on)

    def _parse_on(self) -> None:
        waits = self._rests or len(self.pipeline) >= MAX_PIPELINED
        if self.flow.held and not waits and not self._is_over():
            rest, self._unparsed, self.flow.held = self._unparsed, memoryview(b""), False
            if rest:
                self._unset_keepalive_if_required()
                self._parse_rest(rest)
            self._read_on()

    def _parse_rest(self, rest: memoryview) -> None:
        """What is left of a body was awaited as its beginning was; anything else has been sent ahead."""
        if self.part == "body" and self._is_awaited():
            self._parse(rest)
        else:
            self._parse_by_share(rest)

    def _read_on(self) -> None:
        """uvicorn pauses where the pieces of a body pile up, and goes on when the application has taken them.

        One that has answered takes no more: then the rest is read and thrown away.
        """
        taken = self.cycle.response_complete or len(self.cycle.body) <= HIGH_WATER_LIMIT
        if taken and not self.flow.held and len(self.pipeline) <= READ_ON_AT:
            self.flow.resume_reading()

    def _parse_slice(self, data: memoryview) -> None:
        """All of it, whatever is in it: several messages, each of which may ask for an upgrade."""
        while data:
            was = self.part
            self._began = False
            try:
                self.parser.feed_data(data)
                self._count(len(data), was)
                return
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade()
                data = data[upgrade.args[0] :]
            except (httptools.HttpParserError, Problem):
                self.send_400_response("This is not a valid HTTP/1.1 request.")
                return

    def on_response_complete(self) -> None:
        self._ahead = self._ahead + 1 if self.pipeline or self.flow.held else 0
        super().on_response_complete()
        if self._unparsed:
            self._unset_keepalive_if_required()  # it has sent more, and must not be closed as idle while that waits
        if len(self.pipeline) > READ_ON_AT:
            self.flow.pause_reading()
        else:
            self._parse_on()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """As uvicorn calls it: at once, or when the answer before is complete."""
        self._answered = cycle
        if self._ahead > AHEAD_AT_ONCE:
            self.ahead_queue.start(self.loop, partial(self._start_if_open, cycle, app))
        else:
            self._start(cycle, app)

    def _start_if_open(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not self.transport.is_closing():
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """In the context of the connection: one that was sent ahead would have that of the request which ends now."""
        self._context.run(super()._start_asgi_task, cycle, app)

    # --- bytes that are no content

    def _count(self, number: int, was: Part) -> None:
        """What arrives beyond heads and bodies is bounded: a client could send it for ever."""
        if was == self.part == "none" and not self._began:
            self._between_bytes += number
            if self._between_bytes > BETWEEN_LIMIT_BYTES:
                raise self.refuse(bad_request("More than a few line breaks stand in front of the request."))
        elif was == self.part == "body":
            self._framing_bytes += number
            if self._framing_bytes > FRAMING_LIMIT_BYTES:
                raise self.refuse(bad_request("The body is mostly chunk sizes and extensions."))

    # --- callbacks of the parser

    def on_message_begin(self) -> None:
        self.part, self._began = "head", True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.part == "head":
            super().on_header(name, value)
            return
        self._work += 1
        # a trailer: not merged into the headers (RFC 9110 §6.5.1), or a key could hide there
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > TRAILERS_LIMIT_BYTES:
            raise self.refuse(trailers_too_large())

    def on_headers_complete(self) -> None:
        self._work += HEAD_WORK
        self._check_head()
        self._framing_bytes = self._trailer_bytes = self._between_bytes = 0
        # while it is still the head: uvicorn may find that the address is none, and has made no answer's place then
        super().on_headers_complete()
        self.part = "body"
        if self.parser.should_upgrade():
            self._upgrade_body = body_head(self.headers)

    def on_body(self, body: bytes) -> None:
        self._work += 1 + len(body) // SLICE_BYTES // HEAD_WORK
        self._announced_left = max(self._announced_left - len(body), 0)
        self._framing_bytes -= len(body) * (1 + FRAMING_PER_BODY_BYTE)
        if len(body) > HIGH_WATER_LIMIT and not self.cycle.body:
            self._take_whole(body)
        else:
            super().on_body(body)

    def _take_whole(self, body: bytes) -> None:
        """As uvicorn takes a piece of a body, but not by a copy into a buffer, of which the application gets another.

        Of an upload they cost as much as to receive it.
        """
        if not self.cycle.response_complete:
            self.cycle.body = body  # type: ignore[assignment]  # it is asked for its length, added to and copied
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if not self._upgrade_body:
            self.part, self._announced_left = "none", 0
            super().on_message_complete()

    # --- what a head must be

    def _check_head(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise self.refuse(Problem(505, "http-version-not-supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here."))
        if self.parser.get_method() == b"CONNECT":
            raise self.refuse(Problem(501, "not-implemented", "This is no proxy: CONNECT is not possible."))
        seen = set()
        self._announced_left = 0
        for name, value in self.headers:
            if name in ONCE:
                if name in seen:
                    raise self.refuse(bad_request(f"The header {name.decode()} is given twice."))
                seen.add(name)
                if name == b"content-length":
                    self._check_length(value)
                    self._announced_left = int(value)
                elif name == b"transfer-encoding":
                    self._check_coding(value, version)
        if version == "1.1" and b"host" not in seen:
            raise self.refuse(bad_request("The header host is missing (RFC 9112, section 3.2)."))

    def _check_length(self, value: bytes) -> None:
        if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
            raise self.refuse(bad_request("The content-length is not a plain number."))

    def _check_coding(self, value: bytes, version: str) -> None:
        if version == "1.0":
            raise self.refuse(bad_request("HTTP/1.0 has no transfer-encoding (RFC 9112, section 6.1)."))
        if value.strip().lower() != b"chunked":
            raise self.refuse(Problem(501, "not-implemented", "The only transfer-encoding known here is chunked."))

    # --- upgrades

    def _should_upgrade(self) -> bool:
        """Never: RFC 9110 §7.8 lets a server ignore the wish. There are no WebSockets here."""
        return False

    def _ignore_upgrade(self) -> None:
        """From the end of the head on a new parser reads: it knows how long the body is, and nothing of an upgrade."""
        head, self._upgrade_body = self._upgrade_body, None
        callbacks = _AfterHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if head:
            self.parser.feed_data(head)
        callbacks.passes_on = True


class _AfterHead:
    """The callbacks of a parser that is first fed a head of our own: what it says of that goes nowhere."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self.passes_on = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        callback: Callable[..., None] = getattr(self._framing, name)

        def call(*args: bytes) -> None:
            if self.passes_on:
                callback(*args)

        return call


def body_head(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """A head that announces the same body, and nothing else; None if there is no body."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value)):
            return b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % (name, value)
    return None


def bad_request(detail: str) -> Problem:
    return Problem(400, "bad-request", detail)


def trailers_too_large() -> Problem:
    detail = f"The trailers are longer than {TRAILERS_LIMIT_BYTES} bytes together."
    return Problem(431, "request-header-fields-too-large", detail)
