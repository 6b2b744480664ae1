"""HTTP: a bare FastAPI route, and Errand's, each served by uvicorn as in production; and a load light in itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from errand.process.garbage import collect_less
from errand.server.app import create_app
from errand.server.http_protocol import protocol
from jobs.webhook import Webhook
from settings import Settings
from tests.bench.candidate import main, percentile_ms

PATH = "/v1/jobs/webhook"
BODY = {"url": "https://receiver.example/hooks", "event": "user.created", "data": {"id": 7, "name": "Ada"}}
CONNECTIONS = 64
KEY = "a-key-for-the-benchmark"
KEY_PLACE = b"%036d" % 0
"""Stands in a request where its own idempotency key goes, as long as a UUID."""
NUMBERS = itertools.count(1)


def bare_app() -> FastAPI:
    """A route that validates the same body and answers with an id: the least that an API in FastAPI does."""
    app = FastAPI()

    @app.post(PATH, status_code=202)
    async def accept(args: Webhook) -> dict[str, str]:
        return {"id": "01a1fb27-2ce3-7d0a-9fef-c9aa7d9ac8cc", "status": "queued"}

    return app


async def serve(url: str, port: float, bare: float) -> dict[str, Any]:
    """Serves until it is killed."""
    settings = Settings(data_dir=Path("/nonexistent"), api_keys=KEY, port=int(port))
    app = bare_app() if bare else create_app(settings.model_copy(update={"storage_url": "memory://"}), redis_url=url)
    http = "httptools" if bare else protocol(settings.body_timeout_s)
    config = uvicorn.Config(app, port=int(port), log_level="warning", access_log=False, http=http)
    collect_less()  # as the API's process does, and here for a bare route, too
    await uvicorn.Server(config).serve()
    return {}


async def load(url: str, port: float, number: float, batch: float = 0, keyed: float = 0) -> dict[str, Any]:
    """Requests a second over kept-alive connections; with `batch` jobs in each where that is given.

    `keyed`: each with an Idempotency-Key of its own.
    """
    request = request_of(int(batch), keyed=bool(keyed))
    connections = CONNECTIONS if not batch else 4
    latencies_s: list[float] = []
    each = int(number) // connections
    await _talk(int(port), request, 20, [])
    started_s = time.perf_counter()
    await asyncio.gather(*(_talk(int(port), request, each, latencies_s) for _ in range(connections)))
    took_s = time.perf_counter() - started_s
    return {"requests_per_s": each * connections / took_s, "p99_ms": percentile_ms(latencies_s, 0.99)}


def request_of(batch: int, *, keyed: bool) -> bytes:
    body = json.dumps([BODY] * batch if batch else BODY).encode()
    path = PATH + ("/batch" if batch else "")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    if keyed:
        head += f"Idempotency-Key: {KEY_PLACE.decode()}\r\n"
    return head.encode() + b"\r\n" + body


async def _talk(port: int, request: bytes, number: int, latencies_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * 1024 * 1024)
    for _ in range(number):
        sent_s = time.perf_counter()
        writer.write(request.replace(KEY_PLACE, b"%036d" % next(NUMBERS)))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(head.decode())
        await reader.readexactly(content_length(head.split(b"\r\n")))
        latencies_s.append(time.perf_counter() - sent_s)
    writer.close()


def content_length(lines: Sequence[bytes]) -> int:
    return next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:"))


if __name__ == "__main__":
    main({"serve": serve, "load": load}, uvloop.run)
