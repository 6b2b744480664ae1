"""A real receiver for a developer's machine: it keeps deliveries as files under `DATA_DIR`/webhooks.

Like the mail sink it runs in the worker, on loopback, if no `API_KEYS` are set. It is the one loopback endpoint that
the address guard lets through by default.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from errand import private_folder
from errand.resources.guard import SINK_HOST
from errand.settings import Settings, is_loopback

log = structlog.get_logger("errand.webhook_sink")


BODY_LIMIT_BYTES = 1024 * 1024


@asynccontextmanager
async def opened_sink(settings: Settings) -> AsyncIterator[list[tuple[str, int]]]:
    """Yields the endpoints that the guard must let through: the sink's, or none if there is no sink."""
    if not settings.serves_sinks:
        yield []
        return
    runner = web.AppRunner(_app(settings.data_dir / "webhooks"), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, SINK_HOST, settings.webhook_sink_port).start()
        log.info(
            "webhook sink",
            url=f"http://{SINK_HOST}:{settings.webhook_sink_port}/",
            keeps=str(settings.data_dir / "webhooks"),
        )
    except OSError:
        log.info("webhook sink not opened: the port is taken, by another worker's sink perhaps")
    try:
        yield [(SINK_HOST, settings.webhook_sink_port)]
    finally:
        await runner.cleanup()


def _app(folder: Path) -> web.Application:
    async def keep(request: web.Request) -> web.Response:
        if _is_of_a_page(request):
            raise web.HTTPForbidden(text="deliveries come from workers, not from web pages")
        body = await request.read()
        received = {
            "received_at": datetime.now(UTC).isoformat(),
            "headers": dict(request.headers),
            "body": body.decode(errors="replace"),
        }
        name = "".join(char for char in request.headers.get("webhook-id", "") if char.isalnum() or char == "-")
        (folder / f"{name[:64] or 'unnamed'}.json").write_text(json.dumps(received, indent=2))
        return web.Response(status=204)

    private_folder.make_or_close(folder)
    app = web.Application(client_max_size=BODY_LIMIT_BYTES)
    app.router.add_post("/{path:.*}", keep)
    return app


def _is_of_a_page(request: web.Request) -> bool:
    """Browsers let any web page post to this machine, and say so; a name that was re-bound to it stands in `Host`."""
    named = urlsplit(f"//{request.host}").hostname or ""
    return "Origin" in request.headers or "Sec-Fetch-Site" in request.headers or not is_loopback(named)
