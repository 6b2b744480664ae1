"""How the server is started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from errand.server.process import options
from settings import Settings
from tests.conftest import make_settings
from tests.waiting import eventually


async def whose(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the address that it takes for the client's."""
    await JSONResponse(scope["client"][0])(scope, receive, send)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(whose, **{**options(settings), "port": 0, "lifespan": "off"}))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.mark.parametrize(
    ("proxies", "client"),
    [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.0/8,10.0.0.0/8", "203.0.113.7")],
)
async def test_an_address_that_a_header_names_counts_only_from_a_proxy_that_a_setting_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: str, client: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7, 10.1.2.3"}
    async with served(make_settings(tmp_path, trusted_proxies=proxies)) as url, httpx.AsyncClient() as asking:
        assert (await asking.get(url, headers=forwarded)).json() == client
