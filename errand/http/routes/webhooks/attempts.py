"""`GET /v1/webhook-endpoints/{id}/attempts`: what was answered, or what went wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from errand.http.answers.problems import ERRORS
from errand.http.answers.webhook_view import EndpointAttemptPage, attempt_view
from errand.http.gates import auth
from errand.http.routes.webhooks.endpoints import PREFIX, UNKNOWN, EndpointId, as_json, unknown
from errand.http.shared import SharedDep, in_time
from errand.job.when import Moment
from errand.webhooks.endpoints import AttemptFilter
from errand.webhooks.endpoints.attempts import Outcome
from errand.webhooks.endpoints.definition import EventFilter

MAX_ON_A_PAGE = 100


router = APIRouter(prefix=PREFIX, tags=["webhooks"])


class AttemptSearch(BaseModel):
    """Which attempts."""

    model_config = ConfigDict(extra="forbid")

    event: EventFilter | None = Field(
        None, description="of this name; `*` stands for any characters", examples=["invoice.*"]
    )
    outcome: Outcome | None = Field(None, description="how it ended", examples=["failed"])
    status: int | None = Field(None, ge=100, le=999, description="of the answer", examples=[503])
    fault: str | None = Field(None, max_length=16, description="of this kind", examples=["timeout"])
    since: Moment | None = Field(None, description="ended from then on", examples=["2026-11-20T00:00:00Z"])
    until: Moment | None = Field(None, description="and before then", examples=["2026-11-21T00:00:00Z"])
    limit: int = Field(20, ge=1, le=MAX_ON_A_PAGE, description="how many at most", examples=[20])
    cursor: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,14}-[0-9]{1,15}$",
        description="from `next` of the page before",
        examples=["1795237200123-0"],
    )

    def filter(self) -> AttemptFilter:
        """Without its paging."""
        return AttemptFilter(
            event=self.event,
            outcome=self.outcome,
            status=self.status,
            fault=self.fault,
            since_ms=_ms(self.since),
            until_ms=_ms(self.until),
        )


def _ms(moment: datetime | None) -> int | None:
    """From 1970 on: no attempt was made before, and Redis has no such positions."""
    return None if moment is None else max(int(moment.timestamp() * 1000), 1)


@router.get(
    "/{id}/attempts",
    response_model=EndpointAttemptPage,
    responses={**ERRORS, **UNKNOWN},
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_webhook_attempts",
)
async def list_webhook_attempts(
    id: EndpointId, search: Annotated[AttemptSearch, Query()], request: Request, to: SharedDep
) -> Response:
    """The latest attempts to deliver to the endpoint, the last one first. A page looks at 10,000 of them at most: one
    with few or none may have a `next` all the same."""
    if await in_time(to.webhook_endpoints.read(id)) is None:
        raise unknown(id)
    page = to.webhook_attempts.page(id, search.filter(), limit=search.limit, before=search.cursor)
    attempts, before = await in_time(page)
    following = None
    if before is not None:
        asked = {**request.query_params, "cursor": before}
        following = f"{to.root_path}{PREFIX}/{id}/attempts?{urlencode(asked)}"
    return as_json({"attempts": [attempt_view(each, root_path=to.root_path) for each in attempts], "next": following})
