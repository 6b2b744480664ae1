"""One connection: carries a request, and reads its answer as far as it goes."""

from __future__ import annotations

import asyncio
import select
import ssl
import time
from collections.abc import Callable
from typing import cast

from errand.webhooks.post.answer import AnswerReader, HttpAnswer, NotHttp
from errand.webhooks.post_fault import PostFault

REST_S = 5.0
"""How long the rest of an answer is waited for when its status is known: the attempt is decided by then."""


class DeadConnection(PostFault):
    """A kept connection turned out to be closed: not a byte came back, and a new one may do."""

    def __init__(self) -> None:
        super().__init__("reset", "the connection was closed before an answer came")


class PostConnection(asyncio.Protocol):
    """Carries one request after another, each when the answer before it has come."""

    def __init__(self) -> None:
        self.remote = ""
        self.used = False
        """It has carried a request."""
        self.kept_since_s = 0.0
        """Since when nobody uses it, on the monotonic clock."""
        self._transport: asyncio.Transport | None = None
        self._look = select.poll()
        """Says whether anything has come; made once, as that takes longer than the look."""
        self._reader: AnswerReader | None = None
        self._over: asyncio.Future[None] | None = None
        self._gone: Callable[[PostConnection], None] | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._decided_s = 0.0

    # --- for its users

    @property
    def is_open(self) -> bool:
        """It may carry another request, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_usable(self) -> bool:
        """Open, and nothing has come unasked, which would be taken for the next answer."""
        # the event loop may not have come to read it yet
        return self.is_open and not self._look.poll(0)

    async def exchange(self, request: bytes, *, until_s: float) -> HttpAnswer:
        """Sends `request` and returns the answer, whose status line must have come by `until_s` of the loop's clock.

        Raises PostFault; DeadConnection if nothing came back on a connection that had been kept.
        """
        loop, started_s = asyncio.get_running_loop(), time.perf_counter()
        reader = self._reader = AnswerReader()
        over = self._over = loop.create_future()
        deadline = loop.call_at(until_s, self._end, None)
        try:
            if self._transport is None:
                raise self._fault_of_closing()
            self._transport.write(request)
            await over
        finally:
            deadline.cancel()
            if self._rest is not None:
                self._rest.cancel()
            self._settle()
        if not reader.status:
            raise PostFault("timeout", "no answer in time" if not reader.started else "no whole status line in time")
        ended_s = time.perf_counter()
        return HttpAnswer(
            status=reader.status,
            headers=reader.headers,
            body=bytes(reader.body),
            is_cut=reader.is_cut,
            complete=reader.complete,
            remote=self.remote,
            timings_ms={
                "wait": round((self._decided_s - started_s) * 1000, 3),
                "read": round((ended_s - self._decided_s) * 1000, 3),
            },
        )

    def keep(self, gone: Callable[[PostConnection], None], *, now_s: float) -> None:
        """Nobody uses it from `now_s` on; `gone` is called as soon as it cannot be used any more."""
        self._gone, self.kept_since_s = gone, now_s

    def take(self) -> None:
        """It is in use again."""
        self._gone = None

    def close(self) -> None:
        """At once: a peer that does not read holds up nothing."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it
        self._look.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.remote = f"[{peer[0]}]:{peer[1]}" if ":" in str(peer[0]) else f"{peer[0]}:{peer[1]}"

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:  # what comes unasked would be taken for the next answer
            self.close()
            self._leave()
            return
        decided = reader.status != 0
        try:
            reader.feed(data)
        except NotHttp as error:
            self._end(PostFault("protocol", f"no HTTP/1 answer: {error}"))
            return
        if reader.status and not decided:
            self._decided_s = time.perf_counter()
        if reader.ended:
            self._end(None)
        elif reader.status and not decided:
            self._rest = asyncio.get_running_loop().call_later(REST_S, self._end, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._reader is None:
            self._leave()
        elif self._reader.status:
            self._end(None)
        elif isinstance(exc, ssl.SSLError):  # in TLS 1.3 a server refuses our certificate after the handshake
            self._end(PostFault("tls", f"the connection was ended by the receiver: {exc.reason or exc}"))
        else:
            self._end(self._fault_of_closing())

    # --- inside

    def _end(self, fault: PostFault | None) -> None:
        if self._over is not None and not self._over.done():
            if fault is None:
                self._over.set_result(None)
            else:
                self._over.set_exception(fault)

    def _settle(self) -> None:
        """Ends the exchange: closes the connection unless it may carry another."""
        reader, self._reader, self._over, self._rest = self._reader, None, None, None
        assert reader is not None
        if not reader.ended:
            reader.close()
        if reader.reusable and reader.status and self._has_sent_all:
            self.used = True
        else:
            self.close()

    @property
    def _has_sent_all(self) -> bool:
        """A receiver may answer before it has read the request, and read no more: a next one would not get through."""
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def _fault_of_closing(self) -> PostFault:
        if self.used and not (self._reader and self._reader.started):
            return DeadConnection()
        what = "before a whole status line" if self._reader and self._reader.started else "before an answer"
        return PostFault("reset", f"the connection was closed {what} came")

    def _leave(self) -> None:
        if self._gone is not None:
            self._gone(self)
