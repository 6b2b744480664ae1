"""One webhook event for a thousand endpoints, asked for over HTTP: each delivery is put when the answer comes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import uvloop

from errand.redis.connection import connect
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import Endpoint, EndpointDefinition, Endpoints
from errand.wire import keys
from tests.bench.candidate import main, percentile_ms
from tests.bench.http_side import KEY

BODY = {"event": "invoice.paid", "data": {"id": 7, "name": "Ada", "email": "ada@example.com"}}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def fan_out(url: str, port: float, endpoints: float, events: float) -> dict[str, Any]:
    """How long each of these events takes, from the request to the answer, which comes after the last enqueue."""
    client = connect(url, reply_timeout_s=60)
    kept = Endpoints(client)
    definition = EndpointDefinition.model_validate({"url": "https://receiver.example/hook", "events": ["invoice.*"]})
    await asyncio.gather(
        *(kept.put(Endpoint.new(str(number), definition, secret=SECRET, now_ms=1)) for number in range(int(endpoints)))
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port:.0f}", headers=headers) as session:
        first_s = await _sent(session)  # it reads all endpoints
        same_s = [await _sent(session) for _ in range(int(events))]
        changed_s = []
        for number in range(int(events) // 5):
            await kept.change(str(number), lambda endpoint: endpoint.disabled("for a moment", now_ms=2))
            await kept.change(str(number), lambda endpoint: endpoint.defined(definition, now_ms=3))
            changed_s.append(await _sent(session))
    assert await client.zcard(keys.queue(WEBHOOK_QUEUE)) == endpoints * (1 + len(same_s) + len(changed_s))
    await client.aclose()
    return {
        "first_ms": first_s * 1000,
        "p50_ms": percentile_ms(same_s, 0.5),
        "p99_ms": percentile_ms(same_s, 0.99),
        "changed_p50_ms": percentile_ms(changed_s, 0.5),
    }


async def _sent(session: aiohttp.ClientSession) -> float:
    """How many seconds one event takes."""
    started_s = time.perf_counter()
    async with session.post("/v1/webhook-events", json=BODY) as answer:
        text = await answer.read()
    took_s = time.perf_counter() - started_s
    assert answer.status == 202, text
    return took_s


if __name__ == "__main__":
    main({"fan_out": fan_out}, uvloop.run)
