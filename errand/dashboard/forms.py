"""Reads a form that a page has sent."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from errand.dashboard.rendering import back_to
from errand.http.answers.problems import Problem
from errand.http.gates.body_limit import short_body

MAX_FIELDS = 2_000

LIMIT_BYTES = 256 * 1024
"""Of a form. To undo the escapes in a mebibyte of them held up the loop for 0.2 s; larger args are for the API."""

OPEN_LIMIT_BYTES = 32 * 1024
"""Of a form that anybody may send, with a key and the way back in it."""


class Form:
    """The fields of a form, by name."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def get(self, name: str) -> str:
        """The field's text without blanks around it; empty if it is missing."""
        return next((value.strip() for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Each value of a field that may be there several times."""
        return [value for key, value in self._pairs if key == name]


async def _form(request: Request) -> Form:
    return await _read(request, LIMIT_BYTES)


async def _open_form(request: Request) -> Form:
    return await _read(request, OPEN_LIMIT_BYTES)


async def _read(request: Request, limit_bytes: int) -> Form:
    try:
        text = (await short_body(request, limit_bytes=limit_bytes)).decode()
        return Form(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Problem(
            422, "invalid-request", "This form cannot be read: it must be UTF-8, as browsers send it."
        ) from None


FormDep = Annotated[Form, Depends(_form)]


OpenFormDep = Annotated[Form, Depends(_open_form)]


def done(request: Request, path: str) -> RedirectResponse:
    """Leads back to a page of the dashboard, by GET: a reload of it does nothing again."""
    return RedirectResponse(back_to(request, path), status_code=303, headers={"Cache-Control": "no-store"})
