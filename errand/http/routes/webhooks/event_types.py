"""`GET /v1/webhook-event-types`: what events carry; and `/docs/webhooks`, the same as pages for receivers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field, JsonValue

from errand.http.answers.problems import ERRORS, Problem
from errand.http.gates import auth
from errand.http.shared import Shared, SharedDep
from errand.webhooks.event_types import EventType, EventTypes, declared_in
from errand.webhooks.pages import Page, can_render, event_page, events_page, policy

HOME = "/docs/webhooks"


router = APIRouter(prefix="/v1/webhook-event-types", tags=["webhooks"])


class EventTypeView(BaseModel):
    """One kind of event."""

    name: str = Field(examples=["invoice.paid"])
    description: str
    data_schema: Mapping[str, Any] = Field(description="JSON Schema of `data`")
    example: Mapping[str, Any] = Field(description="an example of `data`")
    links: dict[str, str] = Field(
        description="`page`: the same for people, with code that verifies a delivery; if Jinja2 is installed"
    )


@router.get(
    "",
    responses={status: ERRORS[status] for status in (401, 403, 429)},
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_webhook_event_types",
)
async def list_webhook_event_types(to: SharedDep) -> list[EventTypeView]:
    """Every event type that the code declares: what its events carry, and an example."""
    return [_view(event_type, to.root_path) for event_type in _declared(to).values()]


# FastAPI's routes, as those of `/docs`: they run the app's dependencies
pages = APIRouter(prefix=HOME, include_in_schema=False, dependencies=[Depends(auth.require_reader_of_pages)])


@pages.get("")
async def show_event_types(to: SharedDep) -> HTMLResponse:
    """Every event type, as a page."""
    return _html(events_page(_declared(to).values(), path_of=partial(_path_of, to)))


@pages.get("/{name:path}")
async def show_event_type(name: str, to: SharedDep) -> HTMLResponse:
    """One event type, as a page."""
    event_type = _declared(to).get(name)
    if event_type is None:
        raise Problem(404, "unknown-event-type", f"No event type '{name[:200]}' is declared.")
    return _html(event_page(event_type, nav=[("All events", f"{to.root_path}{HOME}")]))


def check_data(to: Shared, event: str, data: JsonValue) -> None:
    """Raises RequestValidationError, each fault with its path, if the event is declared and carries something else."""
    event_type = _declared(to).get(event)
    if event_type is not None and (faults := event_type.faults_of(data)):
        raise RequestValidationError(
            [{"type": "event_data", "loc": ("body", "data", *path), "msg": message} for path, message in faults]
        )


def _path_of(to: Shared, name: str) -> str:
    return f"{to.root_path}{HOME}/{name}"


def _declared(to: Shared) -> EventTypes:
    return declared_in(to.settings.packages)


def _view(event_type: EventType, root_path: str) -> EventTypeView:
    return EventTypeView(
        name=event_type.name,
        description=event_type.description,
        data_schema=event_type.data_schema,
        example=event_type.example,
        links={"page": f"{root_path}{HOME}/{event_type.name}"} if can_render() else {},
    )


def _html(text: Page) -> HTMLResponse:
    return HTMLResponse(text, headers={"Content-Security-Policy": policy()})
