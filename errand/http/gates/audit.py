"""Says who changed what, on what and from where, and whose credentials were refused: in the log, and kept in Redis.

To put a job is no change in this sense: the job itself is its record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand.audit import AuditEntry, AuditTrail, Kind
from errand.http.gates.auth import ADMITTED_BY, REFUSED_FOR
from errand.http.scope import api_path
from errand.redis.outage import REDIS_DEADLINE_S, within
from errand.settings import ApiKey

log = structlog.get_logger("errand.audit")

NO_CHANGES = ("enqueue_", "send_webhook_event", "preview_email", "create_upload", "continue_", "put_upload", "give_up_")
"""How the operation ids of routes begin that put jobs or files for them, or only show something. The path of an upload
is a secret of its client's."""
REPORTS = ("take_email_", "take_mailgun_", "take_postmark_", "take_ses_")
"""How those begin that take what became of letters."""
MAKING = ("act_on_many_jobs", "put_schedule", "trigger_schedule", "test_webhook_endpoint", "resend_webhook_event")
"""Operations whose forms lead to what they have made, by a 303."""
CANCELS = "cancel_job"
REPLACED_JOB = "Replaced-Job"
"""The header with the path of a job that was cancelled for the one that was put (`on_conflict=replace`)."""
_REPLACED = REPLACED_JOB.lower().encode()
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
MAX_SHOWN_CHARS = 200
LINES_IN_A_MINUTE = 60
"""Of refused credentials: a flood of them must not fill the disk. What has no line is counted all the same."""


class RefusedCredentials:
    """How many credentials this process has refused, by reason, and how many of them may have a line in the log."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._minute = -1
        self._lines = 0
        self._unsaid = 0

    def add(self, reason: str) -> int | None:
        """Counts one. How many before it had no line, if this one may have one; None if it may not."""
        self.counts[reason] += 1
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._lines = minute, 0
        if self._lines >= LINES_IN_A_MINUTE:
            self._unsaid += 1
            return None
        self._lines += 1
        unsaid, self._unsaid = self._unsaid, 0
        return unsaid


class Record:
    """What this process writes of requests, after it has answered them: a client does not wait for that."""

    def __init__(self, trail: Callable[[], AuditTrail]) -> None:
        """`trail` gives what the API has opened."""
        self.refused = RefusedCredentials()
        self._trail = trail

    async def write(self, scope: Scope, *, status: int, made: str = "", cancelled: str = "") -> None:
        """Counts and writes that the request's credential was refused; if it was not, what the request has changed.

        `made` is the path that the answer leads to, `cancelled` that of a job which had to go for the one that was put.
        """
        reasons: list[str] = scope.get(REFUSED_FOR, [])
        action = getattr(scope.get("route"), "operation_id", None) or ""
        if reasons:
            if (left_out := self.refused.add(reasons[0])) is not None:
                await self._write("refused", scope, status, action=action, reason=reasons[0], left_out=left_out)
        elif cancelled:
            await self._write("changed", scope, status, action=CANCELS, path=cancelled[:MAX_SHOWN_CHARS], made=made)
        elif scope["method"] in CHANGING and action and not action.startswith(NO_CHANGES):
            kind: Kind = "reported" if action.startswith(REPORTS) else "changed"
            is_made = status == 201 or (status == 303 and action in MAKING)
            await self._write(kind, scope, status, action=action, made=made if is_made else "")

    async def _write(self, kind: Kind, scope: Scope, status: int, **more: Any) -> None:
        entry = AuditEntry(kind=kind, status=status, **{**_said(scope), **more})
        _log(entry)
        try:
            await within(REDIS_DEADLINE_S, self._trail().add(entry))
        except (RedisError, OSError) as error:
            log.warning("an entry of the audit is in the log alone", error=str(error))


class Audit:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, *, record: Record) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # a list: HEAD requests are answered with a copy of the scope
        refused: list[str] = scope.setdefault(REFUSED_FOR, [])
        status, headers = 0, []

        async def noting(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message.get("headers", [])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if refused or scope["method"] != "GET":
                found = dict(headers)
                made, cancelled = (
                    found.get(b"location", b"").decode("latin-1"),
                    found.get(_REPLACED, b"").decode("latin-1"),
                )
                await self._record.write(scope, status=status, made=made.partition("?")[0], cancelled=cancelled)


def _said(scope: Scope) -> dict[str, Any]:
    key: ApiKey | None = scope.get(ADMITTED_BY)
    return {
        "by": key.shown_as if key else "",
        "address": scope["client"][0] if scope.get("client") else "",
        "method": scope["method"],
        "path": api_path(scope)[:MAX_SHOWN_CHARS],
    }


def _log(entry: AuditEntry) -> None:
    said = {"who": entry.by, "address": entry.address, "method": entry.method, "path": entry.path}
    if entry.kind == "refused":
        more = {"not_logged_before": entry.left_out} if entry.left_out else {}
        log.warning("credential refused", **said, reason=entry.reason, **more)
    else:
        log.info(entry.kind, **said, action=entry.action, status=entry.status)
