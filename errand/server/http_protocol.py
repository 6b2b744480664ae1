"""uvicorn's HTTP protocol with two limits that it lacks: on the head of a request, and on waiting for a slow client.

A middleware sees a request when its head is complete. A head that grows without end, or never ends, fills memory before
that, and only the protocol can refuse it. The protocol can also wait for the parts of a body at no cost to requests
whose body is there: a timer looks at each connection from time to time.

| part   | awaited               | the client's time runs from               | when it is over          |
|--------|-----------------------|-------------------------------------------|--------------------------|
| `none` | a request, our answer | its last bytes, if uvicorn's timer is off | the connection is closed |
| `head` | the rest of a head    | the first byte of the head                | 408, then closed         |
| `body` | the rest of a body    | its last bytes, or when they were due     | 408, then closed         |

Bytes of a body are due at `LEAST_BYTES_PER_S`: else a client that sends one from time to time would keep a connection,
and a file that is being stored, for days.

A message that is refused while answers to earlier ones of its connection are still due waits for its turn: the client
has to know what became of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from errand.http.answers import problems
from errand.http.answers.problems import Problem
from errand.http.gates.answer_headers import ALWAYS, UNLESS_SAID
from errand.http.scope import CONNECTION
from errand.server.ahead import AheadQueue
from errand.server.at_once import CYCLE
from errand.server.framing import Framing, Part

URL_LIMIT_BYTES = 8 * 1024

HEADERS_LIMIT = 100

HEAD_LIMIT_BYTES = 32 * 1024
"""The limit of the URL and the headers together, as large as nginx's."""

LEAST_BYTES_PER_S = 500
"""Of a body, on average, `timeout_s` late at most. Apache's default (mod_reqtimeout); a modem of 1996 was faster."""

LARGE_BODY_BYTES = 256 * 1024
"""What is announced and refused may be so long that its client still sends it when it is answered."""

LINGER_S = 1.0
"""Between a refusal and the close. A connection that comes and is refused costs a millisecond of processor time: five
clients that come again whenever they are cut off take 0.5 % of it, and took 4 % with a tenth of a second. nginx lingers
for five. A client that reads the refusal has it at once, and may close."""

LOOKS_IN_A_TIMEOUT = 4
"""A slow client is noticed within a quarter more of the time that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What a connection waits for: one row of the table above."""

    waiting_since_s: Callable[[HttpProtocol], float | None]
    """Since when the client has owed bytes, by the loop's clock; None if it owes none."""
    may_answer: Callable[[HttpProtocol], bool]
    """False if a refusal would break into another answer: the connection is closed without one."""
    answers_late: bool
    """When the time is over: True for a 408, False if there is no request yet that a 408 would be the answer to."""


class HttpProtocol(Framing):
    """One connection.

    The head of a request must be complete within `timeout_s` seconds of its first byte. Each further part of a body
    must come within `timeout_s` seconds of the one before, and the body at `LEAST_BYTES_PER_S` on average.
    """

    timeout_s: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._received_s = self._head_began_s = self._body_began_s = self.loop.time()
        self._body_bytes = 0
        self._refused: Problem | None = None
        """To be said when what is answered before it has its answers."""
        self._chunk_bytes = self._first_chunk_bytes = self._head_bytes = 0
        self._began_in_chunk = False
        self.at_shutdown: Callable[[], None] = lambda: None
        """Called when the process begins to stop: an answer without an end can end itself."""
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.over:
            return
        self._received_s = self.loop.time()
        self._chunk_bytes = len(data)
        self._began_in_chunk = False
        super().data_received(data)
        if self.part == "head" and not self._began_in_chunk:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._answer_and_close(_head_too_large())

    def on_message_begin(self) -> None:
        self._began_in_chunk = True
        self._head_began_s, self._first_chunk_bytes, self._head_bytes = self._received_s, self._chunk_bytes, 0
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]  # servers may add keys of their own

    def on_header(self, name: bytes, value: bytes) -> None:
        # at once: what arrives in one piece can hold 20,000 of them, and a client that is cut off comes again
        if self.part != "head":
            super().on_header(name, value)
        elif len(self.headers) >= HEADERS_LIMIT:
            raise self.refuse(_head_too_large())
        else:
            HttpToolsProtocol.on_header(self, name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) > URL_LIMIT_BYTES:
            raise self.refuse(_url_too_long())
        # few bytes hold no large head: the usual request is not measured
        at_most_bytes = self._first_chunk_bytes + self._head_bytes + self._chunk_bytes
        if at_most_bytes > HEAD_LIMIT_BYTES and self._head_is_too_large():
            raise self.refuse(_head_too_large())
        super().on_headers_complete()
        self.scope[CYCLE] = self.cycle  # type: ignore[literal-required]  # as above
        self._body_began_s, self._body_bytes = self._received_s, 0
        if self._announced_left > LARGE_BODY_BYTES:
            self.cycle.transport = cast(asyncio.Transport, AnswerTransport(self))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if self._refused and was_last and not self.transport.is_closing():
            self.transport.write(_as_bytes(self._refused))
            self.end()

    def shutdown(self) -> None:
        super().shutdown()
        self.at_shutdown()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn if the parser gives up, also because a callback of this class has raised."""
        self._answer_and_close(self.refusal or Problem(400, "bad-request", "This is not a valid HTTP/1.1 request."))

    def body_owed_since_s(self) -> float:
        """When the client last sent something; earlier if by then more of the body was due."""
        return min(self._received_s, self._body_began_s + self._body_bytes / LEAST_BYTES_PER_S)

    def last_bytes_if_idle_s(self) -> float | None:
        """The same if nothing is being answered and uvicorn does not watch the connection.

        Between requests uvicorn's own timer closes the connection, but a line break in front of a request stops it.
        """
        return self._received_s if self.has_answered() and self.timeout_keep_alive_task is None else None

    def head_began_s(self) -> float:
        """When the first byte of the head came."""
        return self._head_began_s

    def is_answering_this_request(self) -> bool:
        """True if the request whose body is coming is the next to be answered, and its answer has not started."""
        return not self.pipeline and not self.cycle.response_started

    def _look_later(self) -> None:
        self._next_look = self.loop.call_later(self.timeout_s / LOOKS_IN_A_TIMEOUT, self._look)

    def _look(self) -> None:
        if self.flow.read_paused:
            # the service is the slow side: the client's time begins when the service reads again
            self._received_s = self._head_began_s = self._body_began_s = self.loop.time()
            self._body_bytes = 0
        since_s = None if self.over else PHASES[self.part].waiting_since_s(self)
        if since_s is None or self.loop.time() - since_s <= self.timeout_s:
            self._look_later()
        elif PHASES[self.part].answers_late:
            self._answer_and_close(_too_slow(self.timeout_s))
        else:
            self.transport.close()

    def _answer_and_close(self, problem: Problem) -> None:
        """Writes the answer itself: no application has the request yet, or the application must not be waited for."""
        if self.over or self.transport.is_closing():
            return
        if self._is_behind_others():
            self._wait_for_turn(problem)
            return
        if PHASES[self.part].may_answer(self):
            self.transport.write(_as_bytes(problem))
        self.end()

    def end(self) -> None:
        """Says that nothing follows, and reads nothing more; closes in a while.

        A client that goes on to send is cut off then, and comes again so much later. One that reads has its answer:
        to close at once with something unread would reset the connection, and could take the answer with it.
        """
        self.read_no_more()
        if not self.has_answered():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _is_behind_others(self) -> bool:
        """True if an earlier request has not been answered: `cycle` is that of the last whose head is complete."""
        return bool(self.pipeline) if self.part == "body" else not self.has_answered()

    def _wait_for_turn(self, problem: Problem) -> None:
        """Nothing more is read or parsed; the request itself, if it waits for its body among the others, is dropped."""
        self._refused = problem
        self.read_no_more()
        if self.part == "body":
            self.pipeline.popleft()

    def _head_is_too_large(self) -> bool:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_LIMIT_BYTES


class AnswerTransport:
    """Where a request with a large body is answered: the answer may end the connection while the body still comes."""

    def __init__(self, connection: HttpProtocol) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """As uvicorn calls it behind an answer with `Connection: close`."""
        if self._connection.part == "body":
            self._connection.end()
        else:
            self._connection.transport.close()


PHASES: dict[Part, Phase] = {
    "none": Phase(
        waiting_since_s=HttpProtocol.last_bytes_if_idle_s,
        may_answer=HttpProtocol.has_answered,
        answers_late=False,
    ),
    "head": Phase(
        waiting_since_s=HttpProtocol.head_began_s,
        may_answer=HttpProtocol.has_answered,
        answers_late=True,
    ),
    "body": Phase(
        waiting_since_s=HttpProtocol.body_owed_since_s,
        may_answer=HttpProtocol.is_answering_this_request,
        answers_late=True,
    ),
}


def protocol(timeout_s: float) -> type[HttpProtocol]:
    """The protocol with a time limit of `timeout_s` seconds, as uvicorn takes it for its option `http`."""
    return type("HttpProtocol", (HttpProtocol,), {"timeout_s": timeout_s, "ahead_queue": AheadQueue()})


def _as_bytes(problem: Problem) -> bytes:
    answer = problems.response(problem)
    headers = [*answer.raw_headers, *ALWAYS, *UNLESS_SAID, (b"connection", b"close")]
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", bytes(answer.body)])


def _url_too_long() -> Problem:
    return Problem(414, "uri-too-long", f"The path and query are longer than {URL_LIMIT_BYTES} bytes.")


def _head_too_large() -> Problem:
    detail = f"There are more than {HEADERS_LIMIT} headers, or they are longer than {HEAD_LIMIT_BYTES} bytes together."
    return Problem(431, "request-header-fields-too-large", detail)


def _too_slow(timeout_s: float) -> Problem:
    detail = f"The rest of the request did not come within {timeout_s:g} seconds, so nothing was accepted."
    return Problem(408, "request-timeout", detail)
