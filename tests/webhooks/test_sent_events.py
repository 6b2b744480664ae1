"""Listeners get what was sent, whatever stands among it."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

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
