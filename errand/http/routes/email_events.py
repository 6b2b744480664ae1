"""`/v1/email-events` and `/v1/emails`: what became of letters, reported by mail servers and providers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request, Response
from pydantic import BaseModel, Field, SecretStr, ValidationError

from errand.http.answers.job_view import json_response, utc
from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.json_body import JsonRoute
from errand.http.scope import header
from errand.http.shared import Shared, SharedDep, in_time
from errand.mail.deliveries import Deliveries, State
from errand.mail.events import sns
from errand.mail.events.dsn import of_dsn
from errand.mail.events.email_event import BadSignature, EmailEvent, NotAnEvent
from errand.mail.events.mailgun import MAILGUN_LIMIT_S, of_mailgun
from errand.mail.events.postmark import check_basic_password, of_postmark
from errand.mail.events.seen_signatures import SeenSignatures
from errand.mail.events.ses import of_ses

router = APIRouter(tags=["email"], route_class=JsonRoute)


MAX_EVENTS = 1000


EXAMPLE = {"event": "bounced", "address": "ada@example.com", "permanent": True, "detail": "550 5.1.1 no such user"}


class EmailEvents(BaseModel):
    """Several events."""

    events: list[EmailEvent] = Field(max_length=MAX_EVENTS)


class TakenView(BaseModel):
    """How many events were taken."""

    taken: int


class EmailView(BaseModel):
    """How far the letter of a job has come."""

    job_id: str
    address: str
    state: State
    detail: str = Field(description="what was said of it last")
    at: datetime


@router.post(
    "/v1/email-events",
    status_code=200,
    response_model=TakenView,
    responses=ERRORS,
    dependencies=[Depends(auth.require("write"))],
    operation_id="take_email_events",
)
async def take_email_events(
    to: SharedDep, body: Annotated[EmailEvents, Body(openapi_examples={"a bounce": {"value": {"events": [EXAMPLE]}}})]
) -> Response:
    """Takes what became of letters: suppresses addresses, and shows it in `/v1/emails/{job_id}`."""
    return await _taken(to, body.events)


@router.get(
    "/v1/emails/{job_id}",
    response_model=EmailView,
    responses={**ERRORS, **documented({404: "that job has sent no letter"})},
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_email",
)
async def get_email(
    to: SharedDep,
    job_id: Annotated[
        str, Path(max_length=200, description="of the job", examples=["01a1fb3e-ca8c-7394-a804-a09bf4f589ca"])
    ],
) -> Response:
    """How far the letter of a job has come: `accepted` by the mail server, then what events said of it."""
    found = await in_time(_deliveries(to).find(job_id))
    if found is None:
        raise Problem(404, "no-letter", f"Job {job_id} has sent no letter, or it was too long ago.")
    view = EmailView(
        job_id=found.job_id, address=found.address, state=found.state, detail=found.detail, at=utc(found.at_ms)
    )
    return json_response(view)


@router.post(
    "/v1/email-events/dsn",
    include_in_schema=False,
    dependencies=[Depends(auth.require("write"))],
    operation_id="take_email_dsn",
)
async def take_dsn(request: Request, to: SharedDep) -> Response:
    """A delivery status notification (RFC 3464), as a mail server sent it: the message itself is the body.

    Anybody can write one: what it says counts only for a job that it names, and for an address of that job's letter.
    """
    body = await request.body()
    events = await _read(request, lambda: of_dsn(body, return_path=to.settings.mail_return_path))
    if len(events) > MAX_EVENTS:
        raise Problem(422, "invalid-request", f"The report names {len(events)} recipients; at most: {MAX_EVENTS}.")
    deliveries = _deliveries(to)
    counted = [await in_time(deliveries.take_report(event)) for event in events]
    return json_response(TakenView(taken=sum(counted)))


@router.post("/v1/email-events/mailgun", include_in_schema=False, operation_id="take_mailgun_event")
async def take_mailgun(request: Request, to: SharedDep) -> Response:
    """Mailgun's webhook; its signature admits it, and no other event under the same signature."""
    key = _secret(to.settings.mailgun_signing_key)
    body = await _object_in(request)
    events = await _read(request, lambda: of_mailgun(body, key=key))
    seen = SeenSignatures(to.redis, ttl_s=2 * MAILGUN_LIMIT_S)
    with _refused(request):
        await in_time(seen.check(str(body["signature"]["signature"]), body["event-data"]))
    return await _taken(to, events)


@router.post("/v1/email-events/postmark", include_in_schema=False, operation_id="take_postmark_event")
async def take_postmark(request: Request, to: SharedDep) -> Response:
    """Postmark's webhook; the password in its URL admits it."""
    password = _secret(to.settings.postmark_webhook_password)
    given = header(request.scope, b"authorization")
    await _read(request, lambda: check_basic_password(given, password))
    body = await _object_in(request)
    return await _taken(to, await _read(request, lambda: of_postmark(body)))


@router.post("/v1/email-events/ses", include_in_schema=False, operation_id="take_ses_event")
async def take_ses(request: Request, to: SharedDep) -> Response:
    """Amazon SES's notifications and events, by way of SNS; its signature and the topic admit them."""
    topic = _set(to.settings.ses_topic_arn)
    body = await _object_in(request)
    message = await _read(request, lambda: sns.verified(body, topic=topic))
    if message.subscribe_url is None:
        return await _taken(to, await _read(request, lambda: of_ses(message.text)))
    await _read(request, lambda: sns.confirm(message, topic=topic))
    return await _taken(to, [])


def _deliveries(to: Shared) -> Deliveries:
    return Deliveries(to.redis, ttl_s=to.settings.result_ttl_s)


async def _taken(to: Shared, events: list[EmailEvent]) -> Response:
    deliveries = _deliveries(to)
    for event in events:
        await in_time(deliveries.take(event))
    return json_response(TakenView(taken=len(events)))


def _secret(setting: SecretStr | None) -> str:
    return _set(None if setting is None else setting.get_secret_value())


def _set(value: str | None) -> str:
    """Raises Problem 404 if the installation takes no events of that kind."""
    if value is None:
        raise Problem(404, "not-found", "This service takes no events of this provider: its setting is not set.")
    return value


async def _object_in(request: Request) -> Mapping[str, Any]:
    try:
        body = json_body.parsed(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Problem(422, "invalid-request", "The request does not fit: the body must be a JSON object.")
    return body


@contextmanager
def _refused(request: Request) -> Iterator[None]:
    """Answers 401 to a BadSignature, which is noted as a refused credential."""
    try:
        yield
    except BadSignature as error:
        auth.refuse(request, "signature")
        raise Problem(401, "unauthorized", f"The event is not admitted: {error}.") from None


async def _read(request: Request, read: Callable[[], Any]) -> Any:
    """What `read` returns, off the loop; its errors as problems."""
    try:
        with _refused(request):
            return await asyncio.to_thread(read)
    except sns.FetchFault as error:
        raise Problem(
            503, "unavailable", f"The event cannot be checked now: {error}.", headers={"Retry-After": "5"}
        ) from None
    except NotAnEvent as error:
        raise Problem(422, "invalid-request", f"The request does not fit: {error}.") from None
    except RecursionError:
        raise Problem(422, "invalid-request", "The request does not fit: it is nested too deeply.") from None
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        detail = f"The request does not fit: {'.'.join(map(str, fault['loc']))}: {fault['msg']}."
        raise Problem(422, "invalid-request", detail) from None
