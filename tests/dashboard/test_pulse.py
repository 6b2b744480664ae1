"""What open pages are sent."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from errand.dashboard.live.pulse import MISSED, Pulse
from errand.http.shared import Shared
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER


async def next_beat(messages: Any) -> dict[str, Any]:
    """The next message that names a job."""
    async for message in messages:
        if b"event: beat" in message and (beat := json.loads(message.split(b"data: ")[1]))["jobs"]:
            return cast(dict[str, Any], beat)
    raise AssertionError("the stream has ended")


async def test_every_page_is_sent_the_same_changes_and_numbers(open_client: OpenClient) -> None:
    async with open_client() as client:
        app = cast(Any, client)._transport.app.api
        pulse = Pulse(app.state.shared)
        over = asyncio.Event()
        pages = [pulse.messages(over) for _ in range(3)]
        for page in pages:
            pulse.open_page()
            assert b"event: open" in await anext(page)
        waiting = [asyncio.create_task(next_beat(page)) for page in pages]
        # whatever the pulse missed before it watched
        while not all(task.done() for task in waiting):
            job = (await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)).json()
            await asyncio.wait(waiting, timeout=0.3)
        first, *others = [task.result() for task in waiting]
        assert others == [first, first]
        assert {(each["type"], each["status"]) for each in first["jobs"]} == {("welcome_email", "deferred")}
        assert int(first["numbers"]["mail:deferred"]) >= 1 and job["id"]
        over.set()
        for page in pages:
            await page.aclose()
            pulse.close_page()
        assert pulse.pages == 0


async def test_a_page_without_jobs_is_sent_numbers_alone() -> None:
    pulse = Pulse(cast(Shared, None))
    pages = [pulse.messages(asyncio.Event(), jobs=jobs) for jobs in (True, False)]
    for page in pages:
        await anext(page)
    waiting = [asyncio.create_task(anext(page)) for page in pages]
    await asyncio.sleep(0)
    pulse._send(b"all", b"numbers")
    assert [await each for each in waiting] == [b"all", b"numbers"]
    waiting = [asyncio.create_task(anext(page)) for page in pages]
    await asyncio.sleep(0)
    pulse._send(MISSED)
    assert [await each for each in waiting] == [MISSED, MISSED]


async def test_a_page_that_is_behind_reads_itself_again() -> None:
    pulse = Pulse(cast(Shared, None))
    page = pulse.messages(asyncio.Event())
    await anext(page)
    slow = asyncio.create_task(anext(page))
    await asyncio.sleep(0)
    pulse._send(b"one")
    assert await slow == b"one"
    pulse._send(b"two")
    pulse._send(b"three")
    late = asyncio.create_task(anext(page))
    await asyncio.sleep(0)
    pulse._wake()
    assert await late == MISSED
