"""Listeners get what was sent, whatever stands among it."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from errand.webhooks import sent_events
from errand.webhooks.sent_events import PAGE, START, SentEvents
from errand.wire import keys


@pytest.mark.parametrize(
    "foreign", [b"x", b'{"id":"a","tenant":null,"body":{}}', b'{"id":"a","tenant":null,"body":[]}']
)
async def test_what_another_program_has_written_keeps_no_event_from_a_listener(redis: ArqRedis, foreign: bytes) -> None:
    sent = SentEvents(redis)
    for _ in range(PAGE):
        await redis.xadd(keys.WEBHOOK_SENT, {"event": foreign})
    await sent.add("msg_1", {"type": "a", "data": {}}, tenant=None)
    none, position = await sent.after(START)
    found, _ = await sent.after(position)
    assert (none, [event.id for event in found]) == ([], ["msg_1"])


async def test_large_events_fill_no_more_of_redis_than_small_ones(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_events, "MAX_BYTES", 20_000)
    sent = SentEvents(redis)
    for number in range(20):
        await sent.add(f"msg_{number}", {"type": "a", "data": "x" * 5_000}, tenant=None)
    found, _ = await sent.after(START)
    assert found[-1].id == "msg_19" and len(found) <= 4
