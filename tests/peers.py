"""The other side of a job's effect: real servers that answer as a test tells them and keep what they were sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.waiting import NEVER_S


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    at_s: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """Answers with `answers` in turn, then with 204 for ever; keeps every request in `requests`."""

    url: str = ""
    answers: list[web.StreamResponse | int] = field(default_factory=list)
    delay_s: float = 0.0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Set until a test clears it."""
    requests: list[Received] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[HttpReceiver]:
        """On a free loopback port for as long as the block lasts."""
        receiver = cls()
        receiver.may_answer.set()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", receiver._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = cast(Any, site._server).sockets[0].getsockname()[1]
        receiver.url = f"http://127.0.0.1:{port}"
        try:
            yield receiver
        finally:
            await runner.cleanup()

    async def wait_for(self, count: int, *, timeout_s: float = NEVER_S) -> list[Received]:
        """The requests, once that many have come; raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(time.time(), request.method, request.path, dict(request.headers), await request.read())
        async with self._news:
            self.requests.append(received)
            self._news.notify_all()
        await self.may_answer.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        answer = self.answers.pop(0) if self.answers else 204
        return web.Response(status=answer) if isinstance(answer, int) else answer


@dataclass
class SmtpReceiver:
    """Answers MAIL, RCPT and DATA with the replies set for them, else takes everything; keeps what it took."""

    url: str = ""
    replies: dict[str, list[str]] = field(default_factory=dict)
    """By command (`MAIL`, `RCPT`, `DATA`): replies to give in turn before it answers 250."""
    connections: int = 0
    letters: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    smtputf8: bool = True

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[SmtpReceiver]:
        """On a free loopback port for as long as the block lasts."""
        receiver = cls()
        loop = asyncio.get_running_loop()

        def connected() -> SMTP:
            receiver.connections += 1
            return SMTP(receiver, enable_SMTPUTF8=receiver.smtputf8, loop=loop)

        server = await loop.create_server(connected, host="127.0.0.1", port=0)
        receiver.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield receiver
        finally:
            server.close()

    @property
    def messages(self) -> list[EmailMessage]:
        """What was taken, parsed."""
        return [BytesParser(policy=default).parsebytes(letter) for letter in self.letters]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := self._reply("MAIL")).startswith("250"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if (reply := self._reply("RCPT")).startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (reply := self._reply("DATA")).startswith("250"):
            self.letters.append(envelope.original_content or b"")
            self.envelopes.append((envelope.mail_from or "", list(envelope.rcpt_tos)))
        return reply

    def _reply(self, command: str) -> str:
        waiting = self.replies.get(command)
        return waiting.pop(0) if waiting else "250 OK"
