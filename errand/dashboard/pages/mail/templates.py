"""What a template would write: for a name, a language and data of the reader's choice. Nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import Depends, Request, Response
from pydantic import ValidationError

from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.answers.problems import Problem
from errand.http.requests import json_body
from errand.http.routes.dev_mail import framed
from errand.http.routes.email import EmailPreview, PreviewView, rendered, template_names
from errand.http.shared import Shared, SharedDep
from errand.mail import Message

router = page_router("/mail/templates")

FIELDS = ("name", "to", "locale", "data")

MAX_DATA_CHARS = 4_000
"""They stand in the page's address."""


@router.get("/{template}", dependencies=[Depends(gate.may_look)])
async def show_template(template: str, request: Request, to: SharedDep) -> Response:
    """The letter, and a form for what it is written from."""
    given = _given(request.query_params)
    known = await asyncio.to_thread(template_names, to.settings.template_dir)
    if template not in known:
        raise Problem(404, "unknown-template", f"There is no template '{template[:100]}'.")
    letter, fault = None, ""
    try:
        letter = await _written(to, template, given)
    except Problem as problem:
        fault = problem.errors[0].message if problem.errors else problem.detail
    return page(
        request,
        "mail_template.html.j2",
        status=422 if fault else 200,
        name=template,
        locales=known[template],
        given={name: given.get(name, "") for name in FIELDS},
        query=urlencode(given),
        letter=letter,
        fault=fault,
        most_chars=MAX_DATA_CHARS,
    )


@router.get("/{template}/html", dependencies=[Depends(gate.may_look)])
async def show_html(template: str, request: Request, to: SharedDep) -> Response:
    """The HTML by itself, for the frame."""
    return framed((await _written(to, template, _given(request.query_params))).html)


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name in FIELDS if (text := query.get(name, "").strip())}


async def _written(to: Shared, template: str, given: Mapping[str, str]) -> PreviewView:
    """Raises Problem 422 for what no letter can be written from."""
    try:
        data = json_body.parsed(given.get("data", "{}")[:MAX_DATA_CHARS].encode())
        preview = EmailPreview.model_validate({**given, "template": template, "data": data})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise json_body.invalid(".".join(map(str, fault["loc"])), fault["msg"]) from None
    except ValueError as error:
        raise json_body.invalid("data", f"is not valid JSON: {error}") from None
    message = Message(**preview.model_dump())
    return await asyncio.to_thread(rendered, message, to.settings.mail_from, to.settings.template_dir)
