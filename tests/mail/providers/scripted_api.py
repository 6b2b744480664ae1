"""A provider's API that answers what a test wants, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = tuple[int, Mapping[str, Any] | str]

HANGS_UP: Answer = (0, "hangs up")
MUTE: Answer = (0, "says nothing")
CUT: Answer = (0, "hangs up behind its status, a 200")


@dataclass
class ScriptedApi:
    """`answers` in turn, then `usual`. What it was asked is in `requests`: path, headers, and the body as bytes."""

    usual: Answer
    answers: list[Answer] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    address: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedApi]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = "{}:{}".format(*runner.addresses[0])
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, request.headers.copy(), await request.read()))
        answer = self.answers.pop(0) if self.answers else self.usual
        if answer == HANGS_UP:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == MUTE:
            await asyncio.Event().wait()
        if answer == CUT:
            cut = web.StreamResponse(headers={"Content-Length": "100"})
            await cut.prepare(request)
            await cut.write(b"{")
            assert request.transport is not None
            request.transport.close()
            return cut
        status, said = answer
        if isinstance(said, str):
            return web.Response(status=status, text=said, headers=self.answer_headers)
        return web.json_response(said, status=status, headers=self.answer_headers)
