"""`Idempotency-Key`: a request that is sent again is answered as it was the first time, and acted on once.

By draft-ietf-httpapi-idempotency-key-header-07. A key counts for one credential and one path: an app may mount the API
below a path for each of its tenants, of which none is to be answered with a job of another. What is kept is the
answer to a request that put jobs; one that was refused left nothing, and its key may be used again.

A key and its jobs are written in one step, so that of two requests with JSON the later gets the answer of the earlier,
however close they are. Only an upload can be in flight: while it comes in, another under its key is answered 409.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Annotated

from fastapi import Header, Request
from pydantic import WithJsonSchema

from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.scope import api_path, first_headers, root_path
from errand.queue.idempotency import FirstAnswer, Idempotency, RequestInFlight
from errand.queue.partitioned import JobQueue

HEADER = "Idempotency-Key"


RAW_HEADER = HEADER.lower().encode()


REPLAYED = {"Idempotency-Replayed": "true"}


MAX_CHARS = 255


BARE = "^[!#-~][ -~]*$"


QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string of RFC 9651, which is what the draft asks for; most clients send it bare."""


RETRY_S = 2


KEY_EXAMPLE = "8e03978e-40d5-43dd-bc93-6894a57f9324"


DIGEST_BYTES = 16


class KeyedRequest:
    """A request under a key, and what makes it the same request when it is sent again."""

    def __init__(self, request: Request, key: str) -> None:
        path = root_path(request.scope) + api_path(request.scope)
        scope = f"{auth.credential(request)}\n{path}\n{key}"
        self.name = blake2b(scope.encode(), digest_size=DIGEST_BYTES).hexdigest()
        """The key within its queue; reveals nothing of the credential."""
        self._ttl_s: float = request.app.state.settings.idempotency_ttl_s
        self._parts: dict[str, blake2b] = {}
        if request.scope["query_string"]:
            self.take("query", repr(sorted(request.query_params.multi_items())).encode())

    def take(self, part: str, content: bytes) -> None:
        """Adds to a part of the request: a body, a file's next bytes. The order of the parts does not matter."""
        if part in self._parts:
            self._parts[part].update(content)
        else:
            self._parts[part] = blake2b(content, digest_size=DIGEST_BYTES)

    async def taking(self, part: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks, each taken as it passes."""
        async for chunk in chunks:
            self.take(part, chunk)
            yield chunk

    @property
    def fingerprint(self) -> str:
        """Of all that was taken."""
        return "-".join([f"{part}:{digest.hexdigest()}" for part, digest in sorted(self._parts.items())])

    def idempotency(self, memo: str = "") -> Idempotency:
        """What the queue keeps; `memo` is what this answer has in it and the same request sent again does not say."""
        return Idempotency(key=self.name, fingerprint=self.fingerprint, ttl_s=self._ttl_s, memo=memo)


def read(request: Request) -> KeyedRequest | None:
    """The request under its key; None if it has none. Raises Problem 400 for a key that is malformed."""
    if RAW_HEADER not in first_headers(request.scope):
        return None
    given = [value for name, value in request.scope["headers"] if name == RAW_HEADER]
    return KeyedRequest(request, _key_in(given))


KeyHeader = Annotated[
    str | None,
    Header(
        alias=HEADER,
        description="up to 255 printable ASCII characters, in quotes or not: the same request sent again under the "
        "same key gets the first answer again, with `Idempotency-Replayed: true`, and puts no second job",
    ),
    WithJsonSchema({"type": "string", "maxLength": MAX_CHARS, "pattern": BARE, "examples": [KEY_EXAMPLE]}),
]
"""The header for the OpenAPI document."""


@asynccontextmanager
async def in_flight(keyed: KeyedRequest | None, queue: JobQueue) -> AsyncIterator[FirstAnswer | None]:
    """Holds the key while the request comes in, or gives the answer to the first one under it. Raises Problem 409."""
    if keyed is None:
        yield None
        return
    try:
        first = await queue.begin_request(keyed.name)
    except RequestInFlight:
        detail = f"A request under this {HEADER} is still coming in. Send this one again in {RETRY_S} seconds."
        raise Problem(409, "request-in-flight", detail, headers={"Retry-After": str(RETRY_S)}) from None
    try:
        yield first
    finally:
        await queue.end_request(keyed.name)


def reused() -> Problem:
    """422: the key belongs to another request."""
    detail = (
        f"This {HEADER} was used for another request: another body or query. Use a new key for each new request, and "
        "the same one only to send the same request again."
    )
    return Problem(422, "idempotency-key-reused", detail)


def _key_in(given: list[bytes]) -> str:
    value = given[0].strip().decode("latin-1")
    if value.startswith('"'):
        quoted = QUOTED.fullmatch(value)
        key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    else:
        key = value if value.isascii() and value.isprintable() else ""
    if len(given) > 1 or not 1 <= len(key) <= MAX_CHARS:
        detail = f"{HEADER} must be given once, with 1 to {MAX_CHARS} printable ASCII characters, in quotes or not."
        raise Problem(400, "malformed-idempotency-key", detail)
    return key
