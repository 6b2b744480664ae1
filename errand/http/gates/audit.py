"""Says in the log who changed what, on what and from where, and whose credentials were refused.

To put a job is no change in this sense: the job itself is its record.
"""

from __future__ import annotations

import time
from collections import Counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand.http.gates.auth import ADMITTED_BY, REFUSED_FOR
from errand.http.scope import api_path
from errand.settings import ApiKey

log = structlog.get_logger("errand.audit")

PUTS = ("enqueue_",)
"""How the operation ids of routes begin that put jobs."""
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

    def log_those_of(self, scope: Scope) -> bool:
        """Counts and logs the refusal of that request's credential; False if it was not refused."""
        reasons: list[str] = scope.get(REFUSED_FOR, [])
        if reasons and (unsaid := self.add(reasons[0])) is not None:
            more = {"not_logged_before": unsaid} if unsaid else {}
            log.warning("credential refused", **_said(scope), reason=reasons[0], **more)
        return bool(reasons)


class Audit:
    """ASGI middleware around all others."""

    def __init__(self, app: ASGIApp, *, refusals: RefusedCredentials) -> None:
        self._app = app
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # a list: HEAD requests are answered with a copy of the scope
        scope.setdefault(REFUSED_FOR, [])
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send if scope["method"] == "GET" else noting)
        finally:
            refused = self._refusals.log_those_of(scope)
            if not refused and scope["method"] not in ("GET", "HEAD") and (action := _action_of(scope)):
                log.info("changed", **_said(scope), action=action, status=status)


def _action_of(scope: Scope) -> str:
    """The operation id of the route; empty if it puts jobs, or if there is no route."""
    action = getattr(scope.get("route"), "operation_id", None) or ""
    return "" if action.startswith(PUTS) else action


def _said(scope: Scope) -> dict[str, str]:
    key: ApiKey | None = scope.get(ADMITTED_BY)
    return {
        "who": key.shown_as if key else "",
        "address": scope["client"][0] if scope.get("client") else "",
        "method": scope["method"],
        "path": api_path(scope)[:MAX_SHOWN_CHARS],
    }
