"""`GET /v1/audit`: who changed what, and whose credentials were refused."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from arq.utils import to_unix_ms
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from errand.audit import KINDS, AuditEntry, AuditFilter, AuditPosition, Kind
from errand.http.answers.job_view import json_response, utc
from errand.http.answers.problems import ERRORS
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.shared import SharedDep, in_time
from errand.job.when import Moment

MAX_PAGE = 500
CURSOR = re.compile(r"([1-9][0-9]{0,15})-([0-9]{1,16})-(changed|refused|reported)")
CURSOR_EXAMPLE = "1795222555518-0-changed"


router = APIRouter(tags=["audit"])


class EntryView(BaseModel):
    """What one request did, or was refused."""

    at: datetime
    kind: Kind = Field(
        description="`changed`: somebody changed something; `refused`: a credential was refused; `reported`: a mail "
        "server or provider reported what became of letters"
    )
    by: str | None = Field(
        description="the name of the key, or the beginning of its hash; null if it showed none that is known, or if no "
        "keys are set"
    )
    action: str | None = Field(description="the `operationId` in this document; null if the request met no route")
    method: str
    path: str = Field(description="on what; its first 200 characters")
    made: str | None = Field(description="the path of what was made, if it has one")
    status: int = Field(description="of the answer: from 400 on the change was refused")
    address: str = Field(description="the client's, as `TRUSTED_PROXIES` let it be known")
    reason: str | None = Field(
        description="why a credential was refused: `missing`, `wrong`, `expired`, `scope`, `signature`, `elsewhere`, "
        "`throttled`"
    )
    left_out: int = Field(description="refusals before this one that have no entry: 60 a minute have, of each process")


class AuditView(BaseModel):
    """Entries, the newest first."""

    entries: list[EntryView] = Field(description="may be fewer than `limit`, or none, although others follow")
    cursor: str | None = Field(description="for the next page, together with the same filters; null at the end")


@router.get(
    "/v1/audit",
    response_model=AuditView,
    responses=ERRORS,
    dependencies=[Depends(auth.require("admin"))],
    operation_id="list_audit",
)
async def list_audit(
    to: SharedDep,
    kind: Annotated[Kind | None, Query(description="only of this kind", examples=["changed"])] = None,
    by: Annotated[str | None, Query(max_length=80, description="only by the key of that name", examples=["ci"])] = None,
    action: Annotated[
        str | None, Query(max_length=200, description="only of this `operationId`", examples=["pause_queue"])
    ] = None,
    since: Annotated[
        Moment | None, Query(description="only from this moment on, RFC 3339", examples=["2026-11-01T00:00:00Z"])
    ] = None,
    until: Annotated[
        Moment | None, Query(description="only before this moment", examples=["2026-12-01T00:00:00Z"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[100])] = 100,
    cursor: Annotated[
        str | None,
        Query(max_length=50, description="of the page before, with the same filters", examples=[CURSOR_EXAMPLE]),
    ] = None,
) -> Response:
    """Who changed what, and whose credentials were refused, the newest first.

    The latest entries of each kind are kept, as many as `AUDIT_LIMIT` says. To put a job is no change in this sense:
    the job is its own record. An entry is written right after the answer: if the process is killed in between, or if
    Redis is away, the log alone has it. A page looks at 5,000 entries at most.
    """
    filter = AuditFilter(
        kinds=KINDS if kind is None else (kind,),
        by=by,
        action=action,
        since_ms=None if since is None else to_unix_ms(since),
        until_ms=None if until is None else to_unix_ms(until),
    )
    below = None if cursor is None else _position(cursor)
    page = await in_time(to.audit.page(filter, limit=limit, below=below))
    entries = [_view(position, entry) for position, entry in page.entries]
    return json_response(AuditView(entries=entries, cursor=None if page.next is None else _cursor(page.next)))


def _view(position: AuditPosition, entry: AuditEntry) -> EntryView:
    return EntryView(
        at=utc(position.at_ms),
        kind=entry.kind,
        by=entry.by or None,
        action=entry.action or None,
        method=entry.method,
        path=entry.path,
        made=entry.made or None,
        status=entry.status,
        address=entry.address,
        reason=entry.reason or None,
        left_out=entry.left_out,
    )


def _cursor(position: AuditPosition) -> str:
    return f"{position.at_ms}-{position.number}-{position.kind}"


def _position(cursor: str) -> AuditPosition:
    """Raises Problem 422."""
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise json_body.invalid("query.cursor", "must be the 'cursor' of a page of this list, unchanged")
    return AuditPosition(int(found[1]), int(found[2]), found[3])
