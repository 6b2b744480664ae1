"""One request to a provider's API: the connection, its time limits, and what a fault of it means for the letter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from errand.mail.verdict import Stage, TooLarge, Unavailable, Unsure
from errand.settings import is_loopback

CONNECT_S = 30.0


ANSWER_S = 120.0
"""For an answer. Providers take a letter in a second; who gives up sooner than they do sends it twice."""


KEPT_S = 5.0
"""How long an idle connection is kept: one that the provider has closed meanwhile leaves a letter unsure."""


REST_S = 30.0
"""For the rest of an answer, once its status has come."""


ANSWER_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the provider answered; `fields` are those of a JSON object, none if it sent something else."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    fields: Mapping[str, Any]


class HttpApi:
    """A provider's API at one origin, with a number of connections at most."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, *, connections: int) -> None:
        self._session = session
        self.origin = origin
        self.free = asyncio.Semaphore(connections)
        """The connections that no letter has; a letter takes its turn by `Clock.turn`."""

    @classmethod
    @asynccontextmanager
    async def open(cls, origin: str, *, connections: int) -> AsyncIterator[HttpApi]:
        """Connects at the first letter. No proxy, cookie or netrc of the host is used."""
        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEPT_S)
        # the lookup of its name is a part of `connect`: until then nothing was sent
        timeout = aiohttp.ClientTimeout(total=None, connect=2 * CONNECT_S, sock_connect=CONNECT_S)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
            yield cls(session, origin, connections=connections)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> ApiAnswer:
        """Posts a letter. Raises Unavailable if nothing was sent, Unsure if something was, and no status came.

        TooLarge for a 413: providers take less than mail servers do.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._exchange(path, body, headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unavailable(f"no connection to the provider: {error}", stage=Stage.CONNECT) from None
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            said = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise Unsure(f"after the letter was posted: {said}", stage=Stage.CONTENT) from None
        if answer.status == 413:
            raise TooLarge(f"the provider takes no letter of {len(body)} bytes", stage=Stage.MAIL)
        return answer

    async def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> ApiAnswer:
        url = f"{self.origin}{path}"
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            start = b""
            # the status has said by then whether the letter is taken: one that is would be sent again
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(REST_S):
                    while len(start) < ANSWER_LIMIT_BYTES and (more := await response.content.read(ANSWER_LIMIT_BYTES)):
                        start += more
            named = {name.lower(): value for name, value in response.headers.items()}
            return ApiAnswer(response.status, named, _object_in(start))


def origin_of(host: str, port: int | None) -> str:
    """Over TLS, but on this machine."""
    scheme = "http" if is_loopback(host) else "https"
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


def _object_in(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
