"""Reads JSON as strictly as the queue will read it back: a job that was accepted must never become unreadable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import from_json

from errand.http.answers.problems import MAX_FAULTS, FaultyField, Problem
from errand.http.scope import header
from errand.secrets import redaction
from errand.secrets.redaction import Hide

PARTS_OF_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
"""Makes numbers of one size look alike."""


HUGE_EXPONENTS, HUGE_RUN = (b"e000", b"e+000"), b"0" * 200
"""What may be beyond the floats, with an exponent or without: it would be read as infinity and stored as null. The
largest float has 309 digits, of which an exponent of two digits can stand for 99."""


HINTS = (
    (re.compile(rb"$"), 'It is empty: send the args, such as {} or {"name": "Ada"}'),
    (re.compile(rb"\x1f\x8b"), "It is compressed: send it as it is"),
    (re.compile(rb"\xef\xbb\xbf|\xff\xfe|\xfe\xff"), "It begins with a byte order mark: send UTF-8 without one"),
    (
        re.compile(rb"'|[\[{]\s*(?:\{\s*)?'"),
        'JSON has double quotes around names and texts; in Windows\' cmd.exe write "{\\"name\\": \\"Ada\\"}"',
    ),
    (re.compile(rb"\[?\s*\{\s*[A-Za-z_]"), "Names and texts stand in double quotes; has the shell taken them away?"),
    (re.compile(rb"[\w.%-]+="), 'It looks like a form: send JSON, such as {"name": "Ada"}'),
    (re.compile(rb"@"), "curl reads a file for -d @FILE only if nothing stands before the @"),
)
"""How a body begins that is no JSON, and what to do about it."""


DEEP_LEVELS = 190
"""The queue's reader goes about 200 levels deep, and the record of a job puts one around its args."""


MAX_CONTAINERS = 20_000
MAX_MEMBERS = 40_000
MAX_VALUES = 200_000
"""Arrays and objects, members of objects, and values in all, of one job's args or one schedule. A mebibyte of
`[[],[],…]` held up the loop for 1.2 s: it is read twice and written once, and the garbage collector looks at each array
again and again."""


ITEMS = {dict, list}


MAX_NAMES = 1_000
"""Of a body that FastAPI takes apart: no model has so many, and a fault would be made of each of the others."""


TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A text without an end goes to the end of the body: it would be looked for anew from each quote in it."""


def parsed(body: bytes) -> Any:
    """The value in `body`.

    Raises ValueError for what is not JSON in the sense of RFC 8259, such as NaN or half of a surrogate pair, and for
    what is nested too deeply to be stored, or has too many parts.
    """
    _check_parts(body)
    value = from_json(body, allow_inf_nan=False)
    if _may_be_huge(body) and not _is_finite(value):
        raise ValueError("a number is too large")
    if len(body) > DEEP_LEVELS and _containers(body) > DEEP_LEVELS:
        from_json(b"[%b]" % body)
    return value


def parsed_items(items: bytes) -> list[Any] | None:
    """The arrays and objects in `items`, with commas between them; None if each must be looked at by itself.

    `parsed` would accept each of them: all their parts together are not too many for one, and they stand in an array.
    """
    if _too_many_parts(items) or (_may_be_huge(items) and _may_be_huge(TEXT.sub(b'""', items))):
        return None
    try:
        values = from_json(b"[%b]" % items, allow_inf_nan=False)
    except ValueError:
        return None
    return values if ITEMS.issuperset(map(type, values)) else None


def _check_parts(body: bytes) -> None:
    """Raises ValueError for more parts than could be read in a moment. It counts bytes; those in texts do not count."""
    if len(body) <= MAX_CONTAINERS:
        return  # a part takes a byte at least
    if _too_many_parts(body) and _too_many_parts(TEXT.sub(b'""', body)):
        most = f"{MAX_CONTAINERS} arrays and objects, {MAX_MEMBERS} members of objects, {MAX_VALUES} values"
        raise ValueError(f"it has too many parts; at most: {most}")


def _too_many_parts(body: bytes) -> bool:
    return _containers(body) > MAX_CONTAINERS or body.count(b":") > MAX_MEMBERS or body.count(b",") > MAX_VALUES


def _containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _may_be_huge(body: bytes) -> bool:
    """True if a number in it may be beyond the floats: they are looked at then."""
    alike = body.translate(PARTS_OF_NUMBERS)
    return HUGE_EXPONENTS[0] in alike or HUGE_EXPONENTS[1] in alike or HUGE_RUN in alike


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, parts))


class JsonRoute(APIRoute):
    """A route whose body FastAPI takes apart: the JSON in it is read as strictly as by hand."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            value = parsed(await self.body())
            if isinstance(value, dict) and len(value) > MAX_NAMES:
                raise ValueError(f"it has more than {MAX_NAMES} names")
            return value
        except ValueError as error:
            # the one exception that FastAPI takes for a fault of the client's
            raise JSONDecodeError(str(error), "", 0) from None


async def read(request: Request) -> Any:
    """The value in the request's body. Raises Problem 422 for a body of another kind, or that is not JSON."""
    check_media_type(request)
    return value_in(await request.body(), field="body")


def check_media_type(request: Request) -> None:
    """Raises Problem 422 if the body is not said to be JSON."""
    given = header(request.scope, b"content-type")
    if given == "application/json":
        return
    media_type = given.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise invalid("body", "must be JSON, sent with 'Content-Type: application/json'")


def value_in(body: bytes, *, field: str) -> Any:
    """The value in `body`, which the request has in that field. Raises Problem 422."""
    try:
        return parsed(body)
    except ValueError as error:
        raise invalid(field, f"is not valid JSON: {error}{_hint(body)}") from None


def _hint(body: bytes) -> str:
    """The probable mistake, if the reader's words would not help somebody who is new to JSON or curl."""
    text = body.strip()
    for looks_so, hint in HINTS:
        if looks_so.match(text):
            return f". {hint}"
    return ""


def faults_of(error: ValidationError, *path: str | int, hide: Hide = redaction.hide) -> list[dict[str, Any]]:
    """What is wrong, each with its path in the request; `hide` takes secrets out of the words."""
    if error.error_count() > MAX_FAULTS:
        return [{"type": "many", "loc": ("body", *path), "msg": f"does not fit in more than {MAX_FAULTS} places"}]
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return [{**fault, "loc": ("body", *path, *fault["loc"]), "msg": hide(fault["msg"])} for fault in faults]


def invalid(field: str, message: str) -> Problem:
    """A 422 that names one field."""
    errors = [FaultyField(field=field, message=message)]
    return Problem(422, "invalid-request", f"The request does not fit: {field}: {message}", errors=errors)
