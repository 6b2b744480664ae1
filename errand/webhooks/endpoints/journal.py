"""What is written down of each attempt to deliver to an endpoint: its health, and the attempt itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.secrets.redaction import Hide
from errand.webhooks.endpoints.attempts import EndpointAttempts
from errand.webhooks.endpoints.health import EndpointHealth
from errand.webhooks.endpoints.notices import EXHAUSTED, NOTICES, EndpointNotices
from errand.webhooks.endpoints.soon import news
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.target import Target

if TYPE_CHECKING:
    from errand.webhooks.post import HttpAnswer

BODY_LIMIT_CHARS = 1024
"""Of an answer that is a success; of another one, all that was read is kept (16 KiB)."""
HEADERS_LIMIT_CHARS = 8 * 1024
ERROR_LIMIT_CHARS = 500
THROTTLING = (429, 502, 503, 504)
"""With a `Retry-After` these ask for a pause of everything, not of one delivery (Standard Webhooks 1.0: throttle)."""


@dataclass(slots=True, kw_only=True)
class MadeAttempt:
    """One attempt, and what has become of it so far."""

    ctx: Context
    target: Target
    event: str
    webhook_id: str
    answer: HttpAnswer | None = None
    fault: str | None = None
    """Its kind; `status` for an answer that is no success."""
    error: Fail | Retry | None = None
    asked_s: float = 0.0
    """How long the receiver asks to wait (`Retry-After`)."""

    @property
    def is_last(self) -> bool:
        """It has failed, and no other follows."""
        return isinstance(self.error, Fail) or (self.error is not None and self.ctx.attempt >= self.ctx.max_tries)

    @property
    def status(self) -> int:
        """0 if there was no answer."""
        return self.answer.status if self.answer else 0

    def record(self) -> bytes:
        """The JSON of an `EndpointAttempt`, without the target's secrets, which a receiver may repeat."""
        hide = self.target.hide
        text = to_json(self._fields(_as_it_is)).decode()
        # as a whole first: mostly there is nothing to hide
        return text.encode() if hide(text) == text else to_json(self._fields(hide))

    def _fields(self, hide: Hide) -> dict[str, Any]:
        answer = self.answer
        limit = None if self.error else BODY_LIMIT_CHARS
        return {
            "at_ms": int(time.time() * 1000),
            "job_id": self.ctx.job_id,
            "number": self.ctx.attempt,
            "webhook_id": self.webhook_id,
            "event": self.event,
            "status": answer.status if answer else None,
            "fault": self.fault,
            "error": None if self.error is None else hide(str(self.error)),
            "remote": answer.remote if answer else "",
            "timings_ms": answer.timings_ms if answer else {},
            "headers": _kept_headers(answer, hide) if answer else [],
            "body": hide(answer.body.decode(errors="replace"))[:limit] if answer and answer.body else "",
        }


class EndpointJournal:
    """That of one worker process."""

    def __init__(
        self, endpoints: Endpoints, notices: EndpointNotices, health: EndpointHealth, attempts: EndpointAttempts
    ) -> None:
        self._endpoints = endpoints
        self._notices = notices
        self._health = health
        self._attempts = attempts

    async def note(self, made: MadeAttempt) -> None:
        """The attempt has ended. Does nothing if its target is no endpoint."""
        endpoint_id = made.target.endpoint_id
        if endpoint_id is None:
            return
        self._attempts.add(endpoint_id, made.record())
        if made.status in THROTTLING and made.asked_s >= 1:
            with news():
                await self._endpoints.throttle(endpoint_id, for_s=made.asked_s)
        if made.status == 410:
            await self._health.gone(endpoint_id)
        else:
            await self._health.note(endpoint_id, ok=made.error is None)
        if made.is_last:
            await self._note_exhausted(made, endpoint_id)

    async def _note_exhausted(self, made: MadeAttempt, endpoint_id: str) -> None:
        """The message has failed for good. A notice that has failed is not followed by another."""
        if made.event in NOTICES:
            return
        error = made.target.hide(str(made.error))[:ERROR_LIMIT_CHARS]
        data = {"event": made.event, "webhook_id": made.webhook_id, "job_id": made.ctx.job_id}
        with news():
            await self._notices.put(EXHAUSTED, endpoint_id, {**data, "attempts": made.ctx.attempt, "error": error})

    async def close(self) -> None:
        """Writes what is still to be written."""
        await self._attempts.close()
        await self._health.close()


def _as_it_is(text: str) -> str:
    return text


def _kept_headers(answer: HttpAnswer, hide: Hide) -> list[tuple[str, str]]:
    """The first of them."""
    kept, room = [], HEADERS_LIMIT_CHARS
    for name, value in answer.headers:
        room -= len(name) + len(value)
        if room < 0:
            break
        kept.append((hide(name), hide(value)))
    return kept
