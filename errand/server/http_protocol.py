"""uvicorn's HTTP protocol with the limits that it lacks: on the head of a request, and on waiting for a slow client.

A middleware sees a request when its head is complete. A head that grows without end, or never ends, is held in memory
before that, and only the protocol can refuse it. It can also wait for the parts of a body at no cost to requests
whose body is there: a timer looks at each connection from time to time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from errand.http.answers import problems
from errand.http.answers.problems import Problem
from errand.http.gates.answer_headers import ALWAYS, UNLESS_SAID
from errand.http.scope import CONNECTION
from errand.server.framing import Framing

URL_LIMIT_BYTES = 8 * 1024


HEADERS_LIMIT = 100


HEAD_LIMIT_BYTES = 32 * 1024
"""The URL and the headers together, as much as nginx takes."""


LOOKS_IN_A_TIMEOUT = 4
"""A slow client is noticed within a quarter more of the time that it has."""


class HttpProtocol(Framing):
    """One connection.

    A head must be there within `timeout_s` seconds of its first byte, and so must each further part of a body after
    the one before. A client that keeps the service waiting is answered 408; where nothing of a request has come, the
    connection is just closed.
    """

    timeout_s: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._heard_s = self._head_began_s = self.loop.time()
        self._chunk_bytes = self._first_chunk_bytes = self._head_bytes = 0
        self._began_in_chunk = False
        self.at_shutdown: Callable[[], None] = lambda: None
        """Called when the process begins to stop: an answer without an end can end itself."""
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._heard_s = self.loop.time()
        self._chunk_bytes = len(data)
        self._began_in_chunk = False
        super().data_received(data)
        if self.part == "head" and not self._began_in_chunk:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._answer_and_close(_head_too_large())

    def on_message_begin(self) -> None:
        self._began_in_chunk = True
        self._head_began_s, self._first_chunk_bytes, self._head_bytes = self._heard_s, self._chunk_bytes, 0
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[literal-required]  # servers may add keys of their own

    def on_headers_complete(self) -> None:
        if len(self.url) > URL_LIMIT_BYTES:
            raise self.refuse(_url_too_long())
        # in few bytes there is no large head: the usual request is not measured
        at_most_bytes = self._first_chunk_bytes + self._head_bytes + self._chunk_bytes
        if len(self.headers) > HEADERS_LIMIT or (at_most_bytes > HEAD_LIMIT_BYTES and self._head_is_too_large()):
            raise self.refuse(_head_too_large())
        super().on_headers_complete()

    def shutdown(self) -> None:
        super().shutdown()
        self.at_shutdown()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does where the parser gives up, also because a callback of ours has raised."""
        self._answer_and_close(self.refusal or Problem(400, "bad-request", "This is not a valid HTTP/1.1 request."))

    def _head_is_too_large(self) -> bool:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_LIMIT_BYTES

    def _look_later(self) -> None:
        self._next_look = self.loop.call_later(self.timeout_s / LOOKS_IN_A_TIMEOUT, self._look)

    def _look(self) -> None:
        if self.flow.read_paused:
            # we are the slow ones: the client's time begins when we read again
            self._heard_s = self._head_began_s = self.loop.time()
        if self.loop.time() - self._waiting_since_s() <= self.timeout_s:
            self._look_later()
        elif self.part in ("head", "body"):
            self._answer_and_close(_too_slow(self.timeout_s))
        else:
            # not even a request has begun: an answer might be taken for that to the next one
            self.transport.close()

    def _waiting_since_s(self) -> float:
        """Since when the client has owed us bytes: now, where it owes none."""
        if self.part == "head":
            return self._head_began_s
        # between requests uvicorn's own timer closes, but line breaks in front of a request stop that
        idle = self.part == "none" and self._answered and self.timeout_keep_alive_task is None
        return self._heard_s if idle or self.part == "body" else self.loop.time()

    def _answer_and_close(self, problem: Problem) -> None:
        """By hand, since no application was asked, or it must not be waited for."""
        if self.transport.is_closing():
            return
        # an answer that is under way, or another request's, must not be broken into
        if self._is_own_turn if self.part == "body" else self._answered:
            self.transport.write(_as_bytes(problem))
        self.transport.close()

    @property
    def _answered(self) -> bool:
        """All requests that have begun before this one."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # uvicorn declares it as never None
        return cycle is None or cycle.response_complete

    @property
    def _is_own_turn(self) -> bool:
        """The request whose body is coming is the one to be answered, and has not been."""
        return not self.pipeline and not self.cycle.response_started


def protocol(timeout_s: float) -> type[HttpProtocol]:
    """The protocol with that time limit, as uvicorn takes it for its `http`."""
    return type("HttpProtocol", (HttpProtocol,), {"timeout_s": timeout_s})


def _as_bytes(problem: Problem) -> bytes:
    answer = problems.response(problem)
    headers = [*answer.raw_headers, *ALWAYS, *UNLESS_SAID, (b"connection", b"close")]
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", bytes(answer.body)])


def _url_too_long() -> Problem:
    return Problem(414, "uri-too-long", f"The path and query are longer than {URL_LIMIT_BYTES} bytes.")


def _head_too_large() -> Problem:
    detail = f"The headers are more than {HEADERS_LIMIT}, or longer than {HEAD_LIMIT_BYTES} bytes together."
    return Problem(431, "request-header-fields-too-large", detail)


def _too_slow(timeout_s: float) -> Problem:
    detail = f"The rest of the request did not come within {timeout_s:g} seconds, so nothing was accepted."
    return Problem(408, "request-timeout", detail)
