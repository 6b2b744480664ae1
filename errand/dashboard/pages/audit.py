"""Who changed what, and whose credentials were refused."""

from __future__ import annotations

import typing

from fastapi import Depends, Request, Response

from errand.audit import Kind
from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.requests import json_body
from errand.http.routes.audit import AuditView, list_audit
from errand.http.shared import SharedDep

ROWS = 100

KINDS: tuple[Kind, ...] = typing.get_args(Kind)

router = page_router("/audit")


@router.get("", dependencies=[Depends(gate.may_audit)])
async def show_audit(request: Request, to: SharedDep) -> Response:
    """The newest entries first, a page at a time."""
    given = {name: value for name, value in request.query_params.items() if value}
    kind = given.get("kind")
    if kind is not None and kind not in KINDS:
        raise json_body.invalid("query.kind", f"must be one of {', '.join(KINDS)}")
    by, cursor = given.get("by"), given.get("cursor")
    answer = await list_audit(to, kind=kind, by=by, action=None, since=None, until=None, limit=ROWS, cursor=cursor)
    shown = AuditView.model_validate_json(bytes(answer.body))
    return page(request, "audit.html.j2", shown=shown, kinds=KINDS, kind=kind or "", by=by or "")
