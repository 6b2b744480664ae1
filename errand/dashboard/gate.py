"""Says who may see the dashboard and who may change something there.

Behind dependencies of an app of one's own these decide, and nothing is asked here. Without `API_KEYS` the dashboard is
for this machine alone, as the API is. With keys a request shows one, as API clients do, or the cookie of a session.

A request that changes something must come from a page of the dashboard itself: a browser says so in `Sec-Fetch-Site`,
or, over plain HTTP, in `Origin`. A request that shows its key needs neither: no foreign page can send it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request

from errand.dashboard import session
from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.scope import header
from errand.http.shared import in_time
from errand.settings import ALL_SCOPES, ApiKey, Scope

SESSION = "errand.dashboard_session"
"""The key of a request's scope under which its session stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks at a page, and what the page may offer."""

    name: str
    scopes: frozenset[Scope]
    """What the buttons go by; the server checks again."""
    audits: bool
    """True if the page of the audit is for the viewer."""
    session: session.Session | None

    @property
    def writes(self) -> bool:
        return "write" in self.scopes

    @property
    def administers(self) -> bool:
        return "admin" in self.scopes


def viewer_of(request: Request) -> Viewer:
    """The viewer of a request that was admitted."""
    key: ApiKey | None = request.scope.get(auth.ADMITTED_BY)
    scopes = key.scopes if key else ALL_SCOPES
    if is_read_only(request):
        scopes = scopes & {"read"}
    audits = key is None or "admin" in key.scopes
    return Viewer(name=key.shown_as if key else "", scopes=scopes, audits=audits, session=request.scope.get(SESSION))


def is_read_only(request: Request) -> bool:
    return bool(request.app.state.settings.dashboard == "read-only")


async def may_look(request: Request) -> None:
    """A dependency of every page. Raises Problem 401, 403 or 429."""
    await _admit(request, "read")


async def may_audit(request: Request) -> None:
    """A dependency of the page of the audit. Raises Problem 401, 403 or 429."""
    await _admit(request, "admin")


def may_act(scope: Scope) -> Callable[[Request], Awaitable[None]]:
    """A dependency of every action that needs that scope. Raises Problem 401, 403 or 429."""

    async def dependency(request: Request) -> None:
        await _admit(request, scope)
        if is_read_only(request):
            raise Problem(403, "read-only", "This dashboard is read-only: DASHBOARD=read-only is set.")
        check_own_page(request)

    return dependency


def check_reads(request: Request) -> None:
    """Raises Problem 403 unless the key that has admitted the request may read, too."""
    key: ApiKey | None = request.scope.get(auth.ADMITTED_BY)
    if key is not None:
        auth.check_scope(request, key, "read")


async def _admit(request: Request, scope: Scope) -> None:
    opened = await _session_of(request)
    if opened is not None:
        auth.check_scope(request, opened.key, scope)
        # the same quota as that of the key itself: a cookie is not a way around it
        await auth.count(request, opened.key.client)
        return
    if request.method == "GET" and _must_sign_in(request):
        # no refusal to be counted: nobody who opens the page has shown a key before
        detail = "Sign in with one of the service's keys."
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    await auth.admit(request, scope)


def _must_sign_in(request: Request) -> bool:
    """True if the request shows no credential, and one is needed."""
    guarded = not auth.is_off(request.app) and auth.keys_of(request.app)
    return bool(guarded) and not header(request.scope, b"authorization")


async def _session_of(request: Request) -> session.Session | None:
    """The session of the request's cookie, which then admits it; None if another credential must."""
    api_keys = auth.keys_of(request.app)
    cookie = request.cookies.get(session.COOKIE)
    if auth.is_off(request.app) or not api_keys or not cookie or header(request.scope, b"authorization"):
        return None
    found = await in_time(session.read(request.app.state.shared.redis, cookie, api_keys))
    if found is not None:
        request.scope[auth.ADMITTED_BY] = found.key
        request.scope[SESSION] = found
    return found


def check_own_page(request: Request) -> None:
    """Raises Problem 403 unless a page of this dashboard sent the request, or a program that shows its key."""
    if auth.ADMITTED_BY in request.scope and SESSION not in request.scope:
        return
    site = header(request.scope, b"sec-fetch-site")
    if site == "same-origin" or (not site and _is_own_origin(request)):
        return
    raise Problem(403, "foreign-page", "This request does not come from a page of this dashboard, so nothing was done.")


def _is_own_origin(request: Request) -> bool:
    """True if `Origin` names the host that was asked; browsers send it with every form."""
    origin = header(request.scope, b"origin")
    return bool(origin) and origin.partition("://")[2] == header(request.scope, b"host")
