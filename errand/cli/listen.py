"""What `errand listen` does: follows the events of an API and posts each, signed, to a developer's machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from errand.extras import needs
from errand.webhooks.signing import Signer

if TYPE_CHECKING:
    import aiohttp

ANSWER_S = 20.0
"""As long as a delivery waits for a status line."""
SILENT_S = 45.0
"""The API sends a sign of life every 15 s: without one for so long the connection is dead."""
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 30.0
LINE_LIMIT_BYTES = 64 * 1024 * 1024
"""A line of the stream holds an event's data."""

Say = Callable[[str], None]


class ListenRefused(Exception):
    """The API refuses, and will refuse again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What to listen to, and where to post it."""

    api: str
    forward: str
    secret: str
    key: str = ""
    events: Sequence[str] = ()
    tenant: str | None = None

    @property
    def stream(self) -> str:
        """Where the events come from."""
        return f"{self.api.rstrip('/')}/v1/webhook-events"

    @property
    def query(self) -> list[tuple[str, str]]:
        """Which of them."""
        chosen = [("events", name) for name in self.events]
        return [*chosen, ("tenant", self.tenant)] if self.tenant is not None else chosen


@dataclass(slots=True)
class Reached:
    """How far the events have come here."""

    position: str = ""


def listen(listening: Listening, *, say: Say) -> None:
    """Until Ctrl-C. Raises ListenRefused if the API refuses, ExtraMissing without `errand[webhooks]`."""
    with needs("webhooks"):
        import aiohttp  # noqa: F401  # said at once, not in the middle of it
    asyncio.run(_listen(listening, say))


async def _listen(listening: Listening, say: Say) -> None:
    import aiohttp

    reached, wait_s = Reached(), FIRST_WAIT_S
    # the way to the API may lead through a proxy, that to this machine never does
    async with aiohttp.ClientSession(trust_env=True, read_bufsize=LINE_LIMIT_BYTES) as api:
        async with aiohttp.ClientSession() as here:
            while True:
                before = reached.position
                reason = await _pass_on(api, here, listening, reached, say)
                wait_s = FIRST_WAIT_S if reached.position != before else min(wait_s * 2, LAST_WAIT_S)
                say(f"{_clock()} {reason}; again in {wait_s:g} s")
                await asyncio.sleep(wait_s)


async def _pass_on(
    api: aiohttp.ClientSession, here: aiohttp.ClientSession, listening: Listening, reached: Reached, say: Say
) -> str:
    """Posts what the API streams; returns why the stream has ended."""
    import aiohttp

    signer = Signer(listening.secret)
    try:
        async with aclosing(_followed(api, listening, reached)) as events:
            async for event in events:
                say(await _forwarded(here, listening.forward, signer, event))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return str(error) or type(error).__name__
    except (ValueError, KeyError, TypeError) as error:
        return f"what it streams are no events of an Errand API: {error!r}"
    return "the API has ended the stream"


async def _followed(
    api: aiohttp.ClientSession, listening: Listening, reached: Reached
) -> AsyncGenerator[dict[str, Any], None]:
    """Each event, behind the position that was reached before."""
    import aiohttp

    headers = {"Accept": "text/event-stream"}
    if listening.key:
        headers["Authorization"] = f"Bearer {listening.key}"
    if reached.position:
        headers["Last-Event-ID"] = reached.position
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENT_S)
    async with api.get(listening.stream, params=listening.query, headers=headers, timeout=timeout) as answer:
        await _check(answer)
        data, position = "", reached.position
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "data":
                data = value
            elif name == "id":
                position = value
            elif not name and data:
                yield from_json(data)
                data = ""
                reached.position = position


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status == 200:
        return
    problem = await answer.text()
    try:
        detail = str(from_json(problem)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"it answers {answer.status}: is it the address of an Errand API?"
    if answer.status < 500 and answer.status != 429:
        raise ListenRefused(detail)
    raise OSError(detail)


async def _forwarded(session: aiohttp.ClientSession, forward: str, signer: Signer, event: dict[str, Any]) -> str:
    """Posts the event as a delivery would; returns a line that says what came of it."""
    import aiohttp

    body, started_s = to_json(event["body"]), time.perf_counter()
    headers = signer.headers(event["id"], body, now=datetime.now(UTC))
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with session.post(forward, data=body, headers=headers, timeout=timeout, allow_redirects=False) as answer:
            said = f"{answer.status} {answer.reason or ''}".strip()
    except TimeoutError:
        said = f"no answer within {ANSWER_S:g} s"
    except (aiohttp.ClientError, OSError) as error:
        said = str(error) or type(error).__name__
    taken_ms = (time.perf_counter() - started_s) * 1000
    return f"{_clock()} {event['body']['type']} {event['id']} → {said} ({taken_ms:.0f} ms)"


def _clock() -> str:
    return f"{datetime.now():%H:%M:%S}"
