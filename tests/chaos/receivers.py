"""Where effects arrive: a webhook receiver and a mail server that count what they took, by its id."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from random import Random
from typing import Any, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

SLOWEST_ANSWER_S = 0.5
"""An answer takes up to this long: a worker killed meanwhile leaves an effect that it did not record."""


@dataclass
class Receivers:
    """Both, with what they took."""

    http_url: str = ""
    smtp_url: str = ""
    webhooks: Counter[str] = field(default_factory=Counter)
    """How often each `webhook-id` was answered 2xx."""
    letters: Counter[str] = field(default_factory=Counter)
    """How often each job's letter was taken; its id is the left part of the `Message-ID`."""
    random: Random = field(default_factory=Random)
    _asked: Counter[str] = field(default_factory=Counter)

    @classmethod
    @asynccontextmanager
    async def serving(cls, random: Random) -> AsyncIterator[Receivers]:
        """On free loopback ports for as long as the block lasts."""
        receivers = cls(random=random)
        app = web.Application()
        app.router.add_post("/hook", receivers._take_webhook)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receivers.http_url = f"http://127.0.0.1:{cast(Any, site._server).sockets[0].getsockname()[1]}/hook"
        loop = asyncio.get_running_loop()
        smtp = await loop.create_server(lambda: SMTP(receivers, loop=loop), host="127.0.0.1", port=0)
        receivers.smtp_url = f"smtp://127.0.0.1:{smtp.sockets[0].getsockname()[1]}"
        try:
            yield receivers
        finally:
            smtp.close()
            await runner.cleanup()

    async def _take_webhook(self, request: web.Request) -> web.Response:
        """Answers as the event's data asks: `refuse` times 503 at first, 410 where it is `gone`, else 204."""
        job_id, wanted = request.headers["webhook-id"], json.loads(await request.read())["data"]
        self._asked[job_id] += 1
        if wanted.get("gone"):
            return web.Response(status=410)
        if self._asked[job_id] <= wanted.get("refuse", 0):
            return web.Response(status=503, headers={"Retry-After": "1"})
        self.webhooks[job_id] += 1
        await self._take_time()
        return web.Response(status=204)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answers as the address asks: `never-…` is refused for good, `later-…` the first time."""
        self._asked[address] += 1
        if address.startswith("never-"):
            return "550 5.1.1 no such user"
        if address.startswith("later-") and self._asked[address] == 1:
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        headers = BytesHeaderParser().parsebytes(cast(bytes, envelope.original_content))
        self.letters[headers["Message-ID"].strip("<> ").partition("@")[0]] += 1
        await self._take_time()
        return "250 OK"

    async def _take_time(self) -> None:
        await asyncio.sleep(self.random.uniform(0, SLOWEST_ANSWER_S))
