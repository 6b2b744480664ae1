"""Who may do what: bearer keys with scopes; without keys, this machine alone."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from errand.http.answers.problems import Problem
from errand.http.gates import rate_limit
from errand.http.scope import header
from errand.settings import ApiKey, Scope, digest_of, is_loopback

bearer = HTTPBearer(auto_error=False, description="a key of `API_KEYS`; none is needed where none is set")


def require(scope: Scope) -> Callable[..., Awaitable[None]]:
    """A dependency that lets a request through whose key has that scope."""

    # async: FastAPI sends any other dependency through a thread, which costs more than a whole request
    async def dependency(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        await admit(request, scope)

    return dependency


async def admit(request: Request, scope: Scope) -> None:
    """Raises Problem 401 or 403 where the request's key does not allow that scope, 429 where it comes too often.

    What is refused is not counted: nobody uses up a quota with a key that he has not got.
    """
    client = _client_of(request, scope)
    limit = request.app.state.shared.rate_limit
    if limit is not None:
        await rate_limit.count(request, limit, client)


def _client_of(request: Request, scope: Scope) -> str:
    """Who asks: the hash of the key, or the address where there are none."""
    keys: tuple[ApiKey, ...] = request.app.state.settings.api_keys
    if not keys:
        return _local_address(request)
    scheme, _, given = header(request.scope, b"authorization").partition(" ")
    key = _matching(keys, given.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        detail = "Send 'Authorization: Bearer <key>' with one of the service's keys."
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
    if scope not in key.scopes:
        raise Problem(403, "forbidden", f"This key lacks the scope '{scope}', which this request needs.")
    return key.name


def credential(request: Request) -> str:
    """The key that a request was let through with; empty where none is needed."""
    keys: tuple[ApiKey, ...] = request.app.state.settings.api_keys
    return header(request.scope, b"authorization").partition(" ")[2].strip() if keys else ""


def _matching(keys: tuple[ApiKey, ...], given: str) -> ApiKey | None:
    """Compares with every key, each in constant time: how long it takes reveals nothing."""
    found, digest = None, digest_of(given)
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _local_address(request: Request) -> str:
    """Without keys only this machine is served, and no web page that its browser happens to show.

    A page elsewhere can make a browser call loopback: by its own name, re-bound to 127.0.0.1 (then `Host` shows it), or
    directly (then `Origin` shows it). Returns the address.
    """
    peer = request.client.host if request.client else "127.0.0.1"
    # the header itself: where it makes no sense, starlette's `request.url` shows the server's own name instead
    places = [f"//{request.headers.get('host', 'localhost')}", request.headers.get("origin", "http://localhost")]
    if not is_loopback(peer) or not all(map(_is_on_loopback, places)):
        detail = "Without API_KEYS this service answers its own machine only: ask it at 127.0.0.1, or set API_KEYS."
        raise Problem(403, "forbidden", detail)
    return peer


def _is_on_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
