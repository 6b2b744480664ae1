"""`GET /v1/webhook-events`: the events as they are sent, for developers (Server-Sent Events)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from redis.exceptions import RedisError

from errand.http.answers import event_stream
from errand.http.answers.polled_stream import PolledStream
from errand.http.answers.problems import ERRORS, Problem
from errand.http.gates import auth, head_requests
from errand.http.shared import SharedDep, in_time
from errand.webhooks.endpoints.definition import EventFilter, takes
from errand.webhooks.sent_events import LISTENED_MS, MAX_LISTENERS, SentEvent, SentEvents, TooManyListeners

LOOK_EVERY_S = 0.25
HEARTBEAT_S = 15.0
RETRY_S = 10
POSITION = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
EXAMPLE = """\
: watching
id: 0-0
retry: 2000

event: webhook
data: {"id":"msg_01a1fb3e","tenant":null,"body":{"type":"invoice.paid","timestamp":"2026-11-21T05:00:00Z","data":{}}}
id: 1795237200123-0

"""

EVENT_SCHEMA = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "data", "id")}}

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events until the client hangs up, each with `id` (the `webhook-id`), `tenant` and `body`",
        "content": {"text/event-stream": {"itemSchema": EVENT_SCHEMA, "example": EXAMPLE}},
    },
    **{status: ERRORS[status] for status in (401, 403, 422, 429)},
    503: {**ERRORS[503], "description": f"Redis cannot be reached, or {MAX_LISTENERS} listen to this process already"},
}

Shown = Callable[[SentEvent], bool]


router = APIRouter(prefix="/v1/webhook-events", tags=["webhooks"])


@router.get(
    "",
    response_class=StreamingResponse,
    responses=STREAM,
    dependencies=[Depends(auth.require("read"))],
    operation_id="listen_to_webhook_events",
)
async def listen_to_webhook_events(
    request: Request,
    to: SharedDep,
    events: Annotated[
        list[EventFilter],
        Query(min_length=1, max_length=100, description="which; `*` stands for any characters", examples=[["*"]]),
    ] = ["*"],  # noqa: B006  # FastAPI copies it
    tenant: Annotated[
        str | None, Query(max_length=128, description="of this tenant alone; without it, of all", examples=["acme"])
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=128,
            description="the `id` of the last event that was received: the stream goes on after it, within two minutes",
            examples=["1795237200123-0"],
        ),
    ] = None,
) -> Response:
    """Every event that `POST /v1/webhook-events` takes from now on, whether or not an endpoint receives it.

    `errand listen` posts them, signed, to a developer's machine.
    """
    if head_requests.ASKED in request.scope:
        return Response(media_type="text/event-stream")
    sent = to.sent_events
    last = await in_time(sent.listen())
    try:
        sent.enter()
    except TooManyListeners:
        detail = f"{MAX_LISTENERS} clients listen to this process, which is the most. Try again in {RETRY_S} seconds."
        raise Problem(503, "too-many-listeners", detail, headers={"Retry-After": str(RETRY_S)}) from None
    shown = partial(_is_shown, patterns=tuple(events), tenant=tenant)
    return PolledStream(partial(_followed, sent, _position(last_event_id) or last, shown), at_end=sent.leave)


def _position(cursor: str | None) -> str | None:
    """None for what no stream of ours has named: it goes on from now, as without one."""
    return cursor if cursor is not None and POSITION.fullmatch(cursor) else None


def _is_shown(event: SentEvent, *, patterns: tuple[str, ...], tenant: str | None) -> bool:
    return takes(patterns, event.body["type"]) and tenant in (None, event.tenant)


async def _followed(sent: SentEvents, position: str, shown: Shown, over: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """Ends when Redis is away: the client comes back with the position that it has reached."""
    yield event_stream.opening(position)
    listened_s = said_s = time.monotonic()
    with contextlib.suppress(RedisError, TimeoutError):
        while not over.is_set():
            if time.monotonic() > listened_s + LISTENED_MS / 4000:
                await in_time(sent.listen())
                listened_s = time.monotonic()
            found, behind = await in_time(sent.after(position))
            has_moved, position = behind != position, behind
            if chunk := _rendered(list(filter(shown, found))):
                yield chunk
            elif has_moved or time.monotonic() > said_s + HEARTBEAT_S:
                yield event_stream.heartbeat(position)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), LOOK_EVERY_S)
                continue
            said_s = time.monotonic()


def _rendered(events: Sequence[SentEvent]) -> bytes:
    return b"".join(
        event_stream.event(
            "webhook",
            to_json({"id": event.id, "tenant": event.tenant, "body": event.body}).decode(),
            cursor=event.position,
        )
        for event in events
    )
