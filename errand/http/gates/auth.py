"""Admits requests: by bearer keys with scopes; without keys, those of this machine alone."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from errand.http.answers.problems import Problem
from errand.http.gates import rate_limit
from errand.http.scope import header
from errand.settings import ApiKey, Scope, digest_of, is_loopback

bearer = HTTPBearer(auto_error=False, description="a key of `API_KEYS`; none is needed if none is set")


def is_off(app: FastAPI) -> bool:
    """True if the API is mounted behind dependencies of another app: these admit requests, and no key is asked for."""
    return bool(getattr(app.state, "own_auth", False))


def require(scope: Scope) -> Callable[..., Awaitable[None]]:
    """A dependency that admits a request if its key has that scope."""

    # async: FastAPI sends any other dependency through a thread, which costs more than a whole request
    async def dependency(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        await admit(request, scope)

    return dependency


async def admit(request: Request, scope: Scope) -> None:
    """Raises Problem 401 or 403 if the request's key does not allow that scope, 429 if the client is over its limit.

    A request that is refused here is not counted: a client cannot use up the quota of a key that it does not have.
    """
    client = _client_of(request, scope)
    limit = request.app.state.shared.rate_limit
    if limit is not None:
        await rate_limit.count(request, limit, client)


def _client_of(request: Request, scope: Scope) -> str:
    """Names the client for the rate limit: by the hash of its key, or by its address if it needs no key."""
    if is_off(request.app):
        return request.client.host if request.client else "unknown"
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
    """The key that admitted the request; empty if it needed none."""
    if is_off(request.app):
        return ""
    keys: tuple[ApiKey, ...] = request.app.state.settings.api_keys
    return header(request.scope, b"authorization").partition(" ")[2].strip() if keys else ""


def _matching(keys: tuple[ApiKey, ...], given: str) -> ApiKey | None:
    """Compares with every key, each in constant time: the duration reveals nothing."""
    found, digest = None, digest_of(given)
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _local_address(request: Request) -> str:
    """The client's address. Raises Problem 403 unless it is this machine's and no foreign web page asks.

    A foreign page can make a browser call loopback: by its own name, re-bound to 127.0.0.1 (`Host` shows it), or
    directly (`Origin` shows it).
    """
    peer = request.client.host if request.client else "127.0.0.1"
    # the header itself: if it makes no sense, starlette's `request.url` shows the server's own name instead
    addresses = [f"//{request.headers.get('host', 'localhost')}", request.headers.get("origin", "http://localhost")]
    if not is_loopback(peer) or not all(map(_is_on_loopback, addresses)):
        detail = "Without API_KEYS this service answers its own machine only: ask it at 127.0.0.1, or set API_KEYS."
        raise Problem(403, "forbidden", detail)
    return peer


def _is_on_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
