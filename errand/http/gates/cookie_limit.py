"""Refuses a cookie that takes long to read, which is done for each request, before anybody knows whose it is."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from errand.http.answers import problems

MAX_ESCAPES = 500
"""Backslashes among a request's cookies. Python before 3.11.10, and before 3.12.6, takes the square of their number for
a value in quotes (CVE-2024-7592): a second for as many as a head has room for. Errand's own cookies have none."""


class CookieLimit:
    """ASGI middleware: answers 431 for too many escapes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _escapes_in(scope) > MAX_ESCAPES:
            await _refuse()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _escapes_in(scope: Scope) -> int:
    return sum(value.count(b"\\") for name, value in scope["headers"] if name == b"cookie")


def _refuse() -> ASGIApp:
    detail = f"The cookies have more than {MAX_ESCAPES} backslashes."
    return problems.response(problems.Problem(431, "request-header-fields-too-large", detail))
