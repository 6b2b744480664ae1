"""`/v1/webhook-endpoints`: who receives which events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Response
from pydantic import Field

from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.answers.webhook_view import EndpointPage, EndpointView, endpoint_view
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.filters import MAX_ON_A_PAGE, PageAfter, PageLimit
from errand.http.requests.json_body import JsonRoute
from errand.http.shared import Shared, SharedDep, in_time
from errand.resources.guard import fault_of_url
from errand.settings.webhooks import SigningSecret
from errand.webhooks.endpoints import Endpoint, EndpointDefinition
from errand.webhooks.endpoints.store import MAX_ENDPOINTS
from errand.wire import codec
from errand.wire.job_id import new_job_id

READS, ADMINS = [Depends(auth.require("read"))], [Depends(auth.require("admin"))]
"""Who may change an endpoint decides where data goes."""


PREFIX = "/v1/webhook-endpoints"


router = APIRouter(prefix=PREFIX, tags=["webhooks"], route_class=JsonRoute)


UNKNOWN = documented({404: "no such endpoint"})


FULL = documented({409: f"there are {MAX_ENDPOINTS} endpoints already"})


class NewEndpoint(EndpointDefinition):
    """A definition, and the secret if the receiver has one already."""

    secret: SigningSecret | None = Field(None, description="without it one is made")

    def definition(self) -> EndpointDefinition:
        """Without the secret."""
        return EndpointDefinition.model_construct(
            **{name: getattr(self, name) for name in EndpointDefinition.model_fields}
        )


EXAMPLES = {"example": {"value": {"url": "https://acme.example/hooks", "events": ["invoice.*"]}}}
EndpointBody = Annotated[NewEndpoint, Body(openapi_examples=EXAMPLES)]
ENDPOINT_ID = r"^[A-Za-z0-9_-]{1,64}$"
EndpointId = Annotated[str, Path(description="the endpoint's id", pattern=ENDPOINT_ID, examples=["acme-billing"])]


@router.get(
    "", response_model=EndpointPage, responses=ERRORS, dependencies=READS, operation_id="list_webhook_endpoints"
)
async def list_webhook_endpoints(
    to: SharedDep,
    limit: PageLimit = MAX_ON_A_PAGE,
    cursor: PageAfter = "",
) -> Response:
    """All endpoints, in the order of their ids, a page at a time."""
    endpoints, after = await in_time(to.webhook_endpoints.page(after=cursor, most=limit))
    following = None if after is None else f"{to.root_path}/v1/webhook-endpoints?limit={limit}&cursor={after}"
    throttled = await in_time(to.webhook_endpoints.throttled_until_ms([endpoint.id for endpoint in endpoints]))
    views = [
        endpoint_view(endpoint, root_path=to.root_path, throttled_until_ms=throttled.get(endpoint.id))
        for endpoint in endpoints
    ]
    return as_json({"endpoints": views, "next": following})


@router.post(
    "",
    response_model=EndpointView,
    status_code=201,
    responses={**ERRORS, **FULL},
    dependencies=ADMINS,
    operation_id="create_webhook_endpoint",
)
async def create_webhook_endpoint(body: EndpointBody, to: SharedDep) -> Response:
    """Makes an endpoint with an id and a secret of its own; the secret is shown here and never again."""
    _check_url(body, to)
    return await _create(to, new_job_id(), body)


@router.get(
    "/{id}",
    response_model=EndpointView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=READS,
    operation_id="get_webhook_endpoint",
)
async def get_webhook_endpoint(id: EndpointId, to: SharedDep) -> Response:
    """One endpoint, without its secret."""
    return await _shown(to, await in_time(to.webhook_endpoints.read(id)), id)


@router.put(
    "/{id}",
    response_model=EndpointView,
    responses={**ERRORS, **FULL, 201: {"model": EndpointView, "description": "it is new"}},
    dependencies=ADMINS,
    operation_id="put_webhook_endpoint",
)
async def put_webhook_endpoint(id: EndpointId, body: EndpointBody, to: SharedDep) -> Response:
    """Makes the endpoint of that id, or gives it another definition, which holds for what is queued already.

    The secret of an endpoint stays as it is: `rotate` changes it, and another one in the body is refused. An endpoint
    that was disabled is enabled again.
    """
    _check_url(body, to)
    now_ms = await in_time(to.webhook_endpoints.now_ms())
    changed = await in_time(to.webhook_endpoints.change(id, lambda endpoint: _defined(endpoint, body, now_ms=now_ms)))
    if changed is None:
        return await _create(to, id, body)
    return await _shown(to, changed, id)


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses={**ERRORS, **UNKNOWN},
    dependencies=ADMINS,
    operation_id="delete_webhook_endpoint",
)
async def delete_webhook_endpoint(id: EndpointId, to: SharedDep) -> Response:
    """Removes an endpoint. What is queued for it ends as cancelled when its turn comes."""
    if not await in_time(to.webhook_endpoints.remove(id)):
        raise unknown(id)
    return Response(status_code=204)


@router.post(
    "/{id}/rotate",
    response_model=EndpointView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=ADMINS,
    operation_id="rotate_webhook_secret",
)
async def rotate_webhook_secret(id: EndpointId, to: SharedDep) -> Response:
    """Gives the endpoint another secret, shown here and never again.

    For 24 hours deliveries are signed with both: the receiver changes its own in that time.
    """
    now_ms = await in_time(to.webhook_endpoints.now_ms())
    changed = await in_time(to.webhook_endpoints.change(id, lambda endpoint: endpoint.rotated(now_ms=now_ms)))
    return await _shown(to, changed, id, secret=changed.secret if changed else None)


def _defined(endpoint: Endpoint, body: NewEndpoint, *, now_ms: int) -> Endpoint:
    """Raises Problem 422 for another secret: a receiver that has it would refuse every delivery."""
    if body.secret is not None and body.secret.get_secret_value() != endpoint.secret:
        raise json_body.invalid("body.secret", "is not the endpoint's: leave it out, and ask for another by `rotate`")
    return endpoint.defined(body.definition(), now_ms=now_ms)


def _check_url(body: NewEndpoint, to: Shared) -> None:
    """Raises Problem 422 if the settings let nothing be sent there."""
    if fault := fault_of_url(str(body.url), to.settings):
        raise json_body.invalid("body.url", fault)


async def _create(to: Shared, endpoint_id: str, body: NewEndpoint) -> Response:
    given = body.secret.get_secret_value() if body.secret else None
    now_ms = await in_time(to.webhook_endpoints.now_ms())
    endpoint = Endpoint.new(endpoint_id, body.definition(), secret=given, now_ms=now_ms)
    answer = await in_time(to.webhook_endpoints.put(endpoint))
    if answer == "full":
        detail = f"There are {MAX_ENDPOINTS} endpoints, which is the most there may be. Delete one that is not needed."
        raise Problem(409, "too-many-endpoints", detail)
    if answer == "changed":
        raise Problem(409, "endpoint-changed", f"The endpoint {endpoint_id} was made meanwhile. Send this again.")
    view = endpoint_view(endpoint, root_path=to.root_path, secret=endpoint.secret)
    return as_json(view, status=201, headers={"Location": view["links"]["self"]})


async def _shown(to: Shared, endpoint: Endpoint | None, endpoint_id: str, *, secret: str | None = None) -> Response:
    if endpoint is None:
        raise unknown(endpoint_id)
    throttled = await in_time(to.webhook_endpoints.throttled_until_ms([endpoint_id]))
    until_ms = throttled.get(endpoint_id)
    return as_json(endpoint_view(endpoint, root_path=to.root_path, secret=secret, throttled_until_ms=until_ms))


def unknown(endpoint_id: str) -> Problem:
    """404."""
    return Problem(404, "unknown-endpoint", f"There is no endpoint '{endpoint_id}'.")


def as_json(shown: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Never cached: it may hold a secret."""
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(codec.dumps(shown), status_code=status, media_type="application/json", headers=headers)
