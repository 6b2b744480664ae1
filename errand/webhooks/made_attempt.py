"""One attempt at a delivery, and what has become of it so far."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.secrets.redaction import Hide
from errand.webhooks.target import Target

if TYPE_CHECKING:
    from errand.webhooks.post import HttpAnswer

BODY_LIMIT_CHARS = 1024
"""Of an answer that is a success; of another one, all that was read is kept (16 KiB)."""
HEADERS_LIMIT_CHARS = 8 * 1024


@dataclass(slots=True, kw_only=True)
class MadeAttempt:
    """One attempt, and what has become of it so far."""

    ctx: Context
    target: Target
    event: str
    webhook_id: str
    sent: Mapping[str, str] = field(default_factory=dict)
    """The headers of the request, as far as a delivery decides them; none if it was not posted."""
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
        record = to_json(self._fields(_as_it_is))
        text = record.decode()
        # as a whole first: mostly there is nothing to hide
        return record if hide(text) == text else to_json(self._fields(hide))

    def _fields(self, hide: Hide) -> dict[str, Any]:
        answer = self.answer
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
            # what a receiver has taken it could verify
            "request_headers": [] if self.error is None else [(name, hide(value)) for name, value in self.sent.items()],
            "body": self._body(answer) if answer and answer.body else "",
        }

    def _body(self, answer: HttpAnswer) -> str:
        if self.error is None:
            return self.target.readable(answer.body, limit_chars=BODY_LIMIT_CHARS)
        return self.target.whole(answer.body, is_cut=answer.is_cut)


def _as_it_is(text: str) -> str:
    return text


def _kept_headers(answer: HttpAnswer, hide: Hide) -> list[tuple[str, str]]:
    """The first of them."""
    kept, room = [], HEADERS_LIMIT_CHARS
    for name, value in answer.headers:
        room -= len(name) + len(value)
        if room < 0:
            break
        kept.append((name, value))
    return kept if hide is _as_it_is else [(hide(name), hide(value)) for name, value in kept]
