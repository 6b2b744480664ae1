"""What can be done with a webhook endpoint: enable, disable, a test, one event again, all that failed again."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Depends, Request, Response
from pydantic import ValidationError

from errand.dashboard import gate
from errand.dashboard.forms import FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.jobs import job_path
from errand.dashboard.rendering import base_path, page
from errand.http.answers.problems import Problem
from errand.http.answers.webhook_view import RecoveredView
from errand.http.requests import json_body
from errand.http.routes.webhooks import resending
from errand.http.routes.webhooks.endpoints import EndpointId, unknown
from errand.http.routes.webhooks.resending import Recovery, Resend
from errand.http.shared import Shared, SharedDep, in_time
from errand.webhooks.endpoints import Endpoint
from errand.webhooks.job_type import JOB_TYPE


async def _delivers(to: SharedDep) -> None:
    """Raises Problem 404 in an installation that has endpoints in its Redis, and nothing that delivers to them."""
    if JOB_TYPE not in to.catalog:
        raise Problem(404, "unknown-job-type", f"This service has no job type '{JOB_TYPE}'.")


router = page_router("/webhook-endpoints/{id}")

WRITES = [Depends(gate.may_act("write")), Depends(_delivers)]

ADMINISTERS = [Depends(gate.may_act("admin"))]
"""Who may change an endpoint decides where data goes."""


@router.post("/enable", dependencies=ADMINISTERS, operation_id="enable_webhook_endpoint")
async def enable(id: EndpointId, request: Request, to: SharedDep) -> Response:
    """Has it receive events again, whatever it was disabled for."""
    return await _set(request, to, id, enabled=True)


@router.post("/disable", dependencies=ADMINISTERS, operation_id="disable_webhook_endpoint")
async def disable(id: EndpointId, request: Request, to: SharedDep) -> Response:
    """Sends it nothing any more."""
    return await _set(request, to, id, enabled=False)


@router.post("/test", dependencies=WRITES, operation_id="test_webhook_endpoint")
async def send_test(id: EndpointId, request: Request, to: SharedDep) -> Response:
    """Sends it a test event, and leads to its delivery."""
    return _delivery(request, await resending.test_webhook_endpoint(id, to))


@router.post("/resend", dependencies=WRITES, operation_id="resend_webhook_event")
async def resend(id: EndpointId, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Sends it the event of a delivery once more, and leads to the new one."""
    try:
        body = Resend(job_id=form.get("job_id"))
    except ValidationError:
        raise json_body.invalid("job_id", "must be the id of a delivery") from None
    return _delivery(request, await resending.resend_webhook_event(id, body, to))


@router.post("/recover", dependencies=WRITES, operation_id="recover_webhook_events")
async def recover(id: EndpointId, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Puts what failed or was cancelled since a time again, and says how much it was."""
    recovery = _recovery({name: form.get(name) for name in ("since", "until", "cursor") if form.get(name)})
    answer = await resending.recover_webhook_events(id, recovery, to)
    shown = RecoveredView.model_validate_json(bytes(answer.body))
    return page(request, "recovered.html.j2", id=id, asked=recovery, shown=shown)


async def _set(request: Request, to: Shared, endpoint_id: str, *, enabled: bool) -> Response:
    now_ms = await in_time(to.webhook_endpoints.now_ms())

    def change(kept: Endpoint) -> Endpoint:
        return kept.defined(kept.definition.model_copy(update={"enabled": enabled}), now_ms=now_ms)

    if await in_time(to.webhook_endpoints.change(endpoint_id, change)) is None:
        raise unknown(endpoint_id)
    return done(request, f"{base_path(request)}/webhook-endpoints/{endpoint_id}")


def _delivery(request: Request, answer: Response) -> Response:
    (delivery,) = json.loads(bytes(answer.body))["deliveries"]
    return done(request, f"{job_path(request, delivery['job_id'])}?done=put")


def _recovery(given: dict[str, Any]) -> Recovery:
    """A browser's field gives a moment without a zone, which then is UTC. Raises Problem 422."""
    for name in ("since", "until"):
        if name in given and len(given[name]) in (16, 19):
            given[name] += "Z"
    try:
        return Recovery.model_validate(given)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise json_body.invalid(".".join(map(str, fault["loc"])), fault["msg"]) from None
