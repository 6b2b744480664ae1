"""`/v1/email-previews` and `/v1/suppressions`: what a letter would say, and who gets none."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import lru_cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from errand.extras import needs
from errand.http.answers.job_view import PLAIN, json_response, utc
from errand.http.answers.problems import ERRORS, FaultyField, Problem, documented
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.json_body import JsonRoute
from errand.http.shared import SharedDep, in_time
from errand.mail import HeaderText, Locale, MailAddress, Message, TemplateName
from errand.mail.suppressions import Reason, Suppression, Suppressions

if TYPE_CHECKING:
    from errand.mail.writing.templates import Templates

router = APIRouter(tags=["email"], route_class=JsonRoute)


MAX_PAGE = 1000


NOT_SUPPRESSED = documented({404: "the address is not suppressed"})


# a local part may hold "/" (RFC 5322 §3.2.3), which servers decode before they look for the route
Address = Annotated[str, Path(max_length=320, description="in any spelling of capitals", examples=["ada@example.com"])]


class EmailPreview(BaseModel):
    """What to render; as args of `welcome_email`, and nothing is sent."""

    model_config = ConfigDict(extra="forbid")

    template: TemplateName = "welcome"
    to: MailAddress = "ada@example.com"
    name: HeaderText = Field("Ada", max_length=200)
    locale: Locale | None = None
    data: dict[str, JsonValue] = Field({}, description="what the template sees as `data`")


class PreviewView(BaseModel):
    """A letter as its reader would see it."""

    subject: str
    text: str
    html: str | None = Field(description="null if the template has none")


class SuppressionView(BaseModel):
    """An address that gets no mail."""

    address: str
    reason: Reason
    detail: str = Field(description="what the mail server, or the caller, said")
    job_id: str | None = Field(description="the job whose letter bounced")
    at: datetime


class SuppressionPage(BaseModel):
    """Suppressed addresses, the newest first."""

    suppressions: list[SuppressionView]
    cursor: str | None = Field(description="for the next page; null at the end")


class NewSuppression(BaseModel):
    """An address that is to get no mail."""

    model_config = ConfigDict(extra="forbid")

    address: MailAddress
    reason: Reason = "manual"
    detail: HeaderText = Field("", max_length=500)


@router.post(
    "/v1/email-previews",
    response_model=PreviewView,
    responses=ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="preview_email",
)
async def preview_email(
    to: SharedDep, preview: Annotated[EmailPreview, Body(openapi_examples={"welcome": {"value": {"locale": "de"}}})]
) -> Response:
    """Renders a template without sending it."""
    message = Message(**preview.model_dump())
    return json_response(await asyncio.to_thread(rendered, message, to.settings.mail_from, to.settings.template_dir))


@router.get(
    "/v1/suppressions",
    response_model=SuppressionPage,
    responses=ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_suppressions",
)
async def list_suppressions(
    to: SharedDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[100])] = 100,
    cursor: Annotated[
        str | None, Query(max_length=400, description="of the page before", examples=["1795222555518 ada@example.com"])
    ] = None,
) -> Response:
    """Addresses that get no mail, the newest first."""
    after = None if cursor is None else _position(cursor)
    found = await in_time(Suppressions(to.redis).page(limit=limit, after=after))
    following = f"{found[-1].at_ms} {found[-1].address}" if len(found) == limit else None
    return json_response(SuppressionPage(suppressions=[_view(each) for each in found], cursor=following))


@router.post(
    "/v1/suppressions",
    status_code=201,
    response_model=SuppressionView,
    responses=ERRORS,
    dependencies=[Depends(auth.require("write"))],
    operation_id="add_suppression",
)
async def add_suppression(
    to: SharedDep,
    new: Annotated[NewSuppression, Body(openapi_examples={"by hand": {"value": {"address": "ada@example.com"}}})],
) -> Response:
    """No more mail to an address: jobs that would write to it end as cancelled."""
    added = await in_time(Suppressions(to.redis).add(new.address, new.reason, detail=new.detail))
    return json_response(_view(added), status=201, headers={"Location": path_of(added.address, to.root_path)})


@router.get(
    "/v1/suppressions/{address:path}",
    response_model=SuppressionView,
    responses={**ERRORS, **NOT_SUPPRESSED},
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_suppression",
)
async def get_suppression(to: SharedDep, address: Address) -> Response:
    """Why an address gets no mail."""
    found = await in_time(Suppressions(to.redis).find([address]))
    if not found:
        raise _not_suppressed(address)
    return json_response(_view(found[0]))


@router.delete(
    "/v1/suppressions/{address:path}",
    status_code=204,
    response_class=Response,
    responses={**ERRORS, **NOT_SUPPRESSED},
    dependencies=[Depends(auth.require("write"))],
    operation_id="remove_suppression",
)
async def remove_suppression(to: SharedDep, address: Address) -> Response:
    """Mail to an address again."""
    if not await in_time(Suppressions(to.redis).remove(address)):
        raise _not_suppressed(address)
    return Response(status_code=204)


def rendered(message: Message, sender: str, folder: FilePath | None) -> PreviewView:
    """Off the loop: templates may come from a disk. Raises Problem 422."""
    with needs("mail"):
        from errand.mail.writing.compose import render
        from errand.mail.writing.templates import TemplateFault
    try:
        seen = render(message, _templates(folder), sender=sender)
    except TemplateFault as fault:
        field = FaultyField(field="body.template", message=str(fault))
        raise Problem(
            422, "invalid-request", "The template cannot be rendered with these data.", errors=[field]
        ) from None
    return PreviewView(subject=seen.subject, text=seen.text, html=seen.html)


def template_names(folder: FilePath | None) -> dict[str, list[str]]:
    """The templates that there are, with their languages. Off the loop, as above."""
    return _templates(folder).names()


def _templates(folder: FilePath | None) -> Templates:
    """Compiled once: 10 ms for each letter otherwise. A file that is changed is read again, and a new one is seen."""
    files = frozenset(file.name for file in folder.iterdir()) if folder and folder.is_dir() else frozenset[str]()
    return _templates_with(folder, files)


@lru_cache(maxsize=1)
def _templates_with(folder: FilePath | None, _files: frozenset[str]) -> Templates:
    with needs("mail"):
        from errand.mail.writing.templates import Templates
    return Templates(folder)


def _position(cursor: str) -> tuple[int, str]:
    at_ms, _, address = cursor.partition(" ")
    if not at_ms.isdecimal() or not address:
        raise json_body.invalid("query.cursor", "is none that a page has named")
    return int(at_ms), address


def path_of(address: str, root_path: str) -> str:
    """The path of a suppressed address."""
    return f"{root_path}/v1/suppressions/{quote(address, safe=PLAIN)}"


def _not_suppressed(address: str) -> Problem:
    return Problem(404, "not-suppressed", f"'{address}' is not suppressed.")


def _view(suppression: Suppression) -> SuppressionView:
    return SuppressionView(
        address=suppression.address,
        reason=suppression.reason,
        detail=suppression.detail,
        job_id=suppression.job_id,
        at=utc(suppression.at_ms),
    )
