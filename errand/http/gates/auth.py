"""Admits requests: by bearer keys with scopes; without keys, those of this machine alone."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from errand.http.answers.problems import Problem
from errand.http.gates import rate_limit
from errand.http.gates.throttle import RefusalThrottle
from errand.http.scope import header
from errand.settings import ApiKey, Scope, digest_of, is_loopback

bearer = HTTPBearer(auto_error=False, description="a key of `API_KEYS`; none is needed if none is set")


ADMITTED_BY = "errand.key"
"""The key of a request's scope under which the API key that admitted it stands."""

REFUSED_FOR = "errand.refused_for"
"""The key of a request's scope under which stands a list: why its credential was refused, if it was."""

FORWARDED = (b"x-forwarded-for", b"forwarded", b"x-real-ip")
"""Headers by which a proxy says that a request is another's."""


def is_off(app: FastAPI) -> bool:
    """True if the API is mounted behind dependencies of another app: these admit requests, and no key is asked for."""
    return bool(getattr(app.state, "own_auth", False))


def require(scope: Scope) -> Callable[..., Awaitable[None]]:
    """A dependency that admits a request if its key has that scope."""

    # async: FastAPI sends any other dependency through a thread, which costs more than a whole request
    async def dependency(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        await admit(request, scope)

    return dependency


async def require_reader_of_pages(request: Request) -> None:
    """A dependency of the pages for people: `read`. A browser asks its user for a key, as the password of any name.

    Raises Problem 401 or 403.
    """
    _client_of(request, "read", for_browsers=True)


async def admit(request: Request, scope: Scope) -> None:
    """Raises Problem 401 or 403 if the request's key does not allow that scope, 429 if the client is over its limit.

    A request that is refused here is not counted: a client cannot use up the quota of a key that it does not have.
    """
    await count(request, _client_of(request, scope))


async def count(request: Request, client: str) -> None:
    """Counts a request that was admitted. Raises Problem 429 if the client is over its limit."""
    limit = request.app.state.shared.rate_limit
    if limit is not None:
        await rate_limit.count(request, limit, client)


def may(request: Request, scope: Scope) -> bool:
    """Whether this request, which was admitted, could do what needs that scope too."""
    key: ApiKey | None = request.scope.get(ADMITTED_BY)
    return key is None or scope in key.scopes


def _client_of(request: Request, scope: Scope, *, for_browsers: bool = False) -> str:
    """Names the client for the rate limit: by the hash of its key, or by its address if it needs no key."""
    if is_off(request.app):
        return _address_of(request)
    keys = keys_of(request.app)
    if not keys:
        return _local_address(request)
    given = _given_key(request, with_password=for_browsers)
    asked = 'Basic realm="a key as the password", charset="UTF-8"' if for_browsers else "Bearer"
    key = admit_by(request, given, keys, asked=asked)
    check_scope(request, key, scope)
    return key.client


def admit_by(request: Request, given: str, keys: tuple[ApiKey, ...], *, asked: str = "Bearer") -> ApiKey:
    """The key that the request shows, which admits it. Raises Problem 401, and 429 for an address that guesses.

    `asked` is the scheme that a refusal asks for.
    """
    key = _matching(keys, given)
    if key is None or key.has_expired():
        refuse(request, "expired" if key else "wrong" if given else "missing", guess="" if key else given)
        detail = "Send 'Authorization: Bearer <key>' with one of the service's keys."
        detail = "This key has expired. " + detail if key else detail
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": asked})
    _hold_back_a_guess(request, key)
    request.scope[ADMITTED_BY] = key
    return key


def check_scope(request: Request, key: ApiKey, scope: Scope) -> None:
    """Raises Problem 403 if the key, which admits the request, does not have that scope."""
    if scope not in key.scopes:
        refuse(request, "scope")
        raise Problem(403, "forbidden", f"This key lacks the scope '{scope}', which this request needs.")


def credential(request: Request) -> str:
    """The key that admitted the request; empty if it needed none."""
    if request.scope.get(ADMITTED_BY) is None:
        return ""
    return header(request.scope, b"authorization").partition(" ")[2].strip()


def keys_of(app: FastAPI) -> tuple[ApiKey, ...]:
    """The keys that are valid now: `Api.use_keys` may have changed them since the start."""
    keys: tuple[ApiKey, ...] = app.state.api_keys
    return keys


def refuse(request: Request, reason: str, *, guess: str = "") -> None:
    """Notes that the request's credential is refused, for the caller to answer; `guess`: a wrong key that it showed.

    Raises Problem 429 if more than `REFUSAL_LIMIT` came from the client's address.
    """
    request.scope.setdefault(REFUSED_FOR, []).append(reason)
    throttle: RefusalThrottle = request.app.state.throttle
    wait_s = throttle.refuse(_address_of(request), guess=guess)
    if wait_s is not None:
        raise _too_many_refused(wait_s)


def _hold_back_a_guess(request: Request, key: ApiKey) -> None:
    """Raises Problem 429 for a right key of an address that has shown many wrong ones and not this one before."""
    throttle: RefusalThrottle = request.app.state.throttle
    wait_s = throttle.admit(_address_of(request), key.digest)
    if wait_s is not None:
        request.scope.setdefault(REFUSED_FOR, []).append("throttled")
        raise _too_many_refused(wait_s)


def _too_many_refused(wait_s: int) -> Problem:
    detail = f"Too many credentials from this address were refused. Try again in {wait_s} seconds."
    return Problem(429, "too-many-refused", detail, headers={"Retry-After": str(wait_s)})


def _address_of(request: Request) -> str:
    # not `request.client`: it would be made anew for each request
    client = request.scope.get("client")
    return client[0] if client else "unknown"


def _given_key(request: Request, *, with_password: bool) -> str:
    """The key that the request shows, as a bearer token or, if it may, as a password; empty if none."""
    scheme, _, given = header(request.scope, b"authorization").partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        # only where nothing can be changed: a browser sends a password by itself, whatever page has it ask
        case "basic" if with_password:
            try:
                return b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:  # no base64, or no UTF-8 in it, or no ASCII at all
                return ""
    return ""


def _matching(keys: tuple[ApiKey, ...], given: str) -> ApiKey | None:
    """Compares with every key, each in constant time: the duration reveals nothing."""
    found, digest = None, digest_of(given)
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def _local_address(request: Request) -> str:
    """The client's address. Raises Problem 403 unless it is this machine's and no foreign web page asks.

    What a proxy passes on comes from elsewhere, although the proxy is on this machine.

    A foreign page can make a browser call loopback: by its own name, re-bound to 127.0.0.1 (`Host` shows it), or
    directly (`Origin` shows it).
    """
    peer = request.client.host if request.client else "127.0.0.1"
    # the header itself: if it makes no sense, starlette's `request.url` shows the server's own name instead
    addresses = [f"//{request.headers.get('host', 'localhost')}", request.headers.get("origin", "http://localhost")]
    passed_on = any(name in FORWARDED for name, _ in request.scope["headers"])
    if passed_on or not is_loopback(peer) or not all(map(_is_on_loopback, addresses)):
        refuse(request, "elsewhere")
        detail = "Without API_KEYS this service answers its own machine only: ask it at 127.0.0.1, or set API_KEYS."
        raise Problem(403, "forbidden", detail)
    return peer


def _is_on_loopback(url: str) -> bool:
    try:
        address = urlsplit(url)
        _ = address.port  # only then one that is no number is refused: `127.0.0.1:8000.elsewhere.example`
        return is_loopback(address.hostname or "")
    except ValueError:
        return False
